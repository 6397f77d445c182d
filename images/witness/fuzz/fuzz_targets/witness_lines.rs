#![no_main]

fuzzing::target!(witness_fuzz::witness_lines::run);
