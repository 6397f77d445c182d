#![no_main]

fuzzing::target!(replication::fuzzing::run);
