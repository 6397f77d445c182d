#![no_main]

fuzzing::target!(windows_volume_fuzz::windows_volume::run);
