#![no_main]

fuzzing::target!(standins_fuzz::vhd::run);
