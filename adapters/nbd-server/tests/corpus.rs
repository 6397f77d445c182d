//! The committed inputs of the fuzz targets, run as ordinary tests.

#[path = "../fuzz/src/nbd_server.rs"]
mod nbd_server;
#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;

#[test]
fn inputs_of_nbd_server() {
    replay::replay("nbd_server", nbd_server::run);
}
