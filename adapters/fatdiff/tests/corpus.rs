//! The committed inputs of the fuzz targets, run as ordinary tests.

#[path = "../fuzz/src/fat.rs"]
mod fat;
#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;

#[test]
fn inputs_of_fat() {
    replay::replay("fat", fat::run);
}
