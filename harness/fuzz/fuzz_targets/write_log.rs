#![no_main]

fuzzing::target!(harness_fuzz::targets::write_log::run);
