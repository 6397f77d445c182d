//! The committed inputs of the fuzz targets, run as ordinary tests.

use super::replay::replay;
use super::targets;

#[test]
fn write_logs() {
    replay("write_log", targets::write_log::run);
}

#[test]
fn qcow2_images() {
    replay("qcow2", targets::qcow2::run);
}

#[test]
fn histories() {
    replay("oracle", targets::oracle::run);
}
