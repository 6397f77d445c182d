#![no_main]

fuzzing::target!(wire::fuzzing::run);
