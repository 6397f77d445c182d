#![no_main]

fuzzing::target!(fatdiff_fuzz::fat::run);
