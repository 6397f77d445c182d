#![no_main]

fuzzing::target!(conformance_fuzz::packs::run);
