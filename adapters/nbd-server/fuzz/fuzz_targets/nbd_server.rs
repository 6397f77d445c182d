#![no_main]

fuzzing::target!(nbd_server_fuzz::nbd_server::run);
