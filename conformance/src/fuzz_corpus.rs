//! The committed inputs of the fuzz targets, run as ordinary tests.

#[path = "../fuzz/src/evidence.rs"]
mod evidence;
#[path = "../fuzz/src/packs.rs"]
mod packs;
#[path = "../../xtask/fuzz/src/replay.rs"]
mod replay;

#[test]
fn inputs_of_evidence() {
    replay::replay("evidence", evidence::run);
}

#[test]
fn inputs_of_packs() {
    replay::replay("packs", packs::run);
}
