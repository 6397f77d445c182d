#![no_main]

fuzzing::target!(conformance_fuzz::rules::run);
