#![no_main]

fuzzing::target!(conformance_fuzz::evidence::run);
