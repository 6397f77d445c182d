#![no_main]

fuzzing::target!(harness_fuzz::targets::oracle::run);
