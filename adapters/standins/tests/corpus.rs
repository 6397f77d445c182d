//! The committed inputs of the fuzz targets, run as ordinary tests.

#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;
#[path = "../fuzz/src/vhd.rs"]
mod vhd;

#[test]
fn inputs_of_vhd() {
    replay::replay("vhd", vhd::run);
}
