//! Fuzz target of the NBD server.

pub mod nbd_server;
