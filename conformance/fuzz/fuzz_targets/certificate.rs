#![no_main]

fuzzing::target!(conformance_fuzz::certificate::run);
