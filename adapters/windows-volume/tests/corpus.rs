//! The committed inputs of the fuzz target, run as ordinary tests.

#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;
#[path = "../fuzz/src/windows_volume.rs"]
mod windows_volume_target;

#[test]
fn inputs_of_windows_volume() {
    replay::replay("windows_volume", windows_volume_target::run);
}
