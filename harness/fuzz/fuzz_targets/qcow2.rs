#![no_main]

fuzzing::target!(harness_fuzz::targets::qcow2::run);
