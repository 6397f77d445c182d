//! The committed inputs of the fuzz targets, run as ordinary tests.

#[path = "../fuzz/src/ledger.rs"]
mod ledger;
#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;
#[path = "../fuzz/src/witness_lines.rs"]
mod witness_lines;

#[test]
fn inputs_of_ledger() {
    replay::replay("ledger", ledger::run);
}

#[test]
fn inputs_of_witness_lines() {
    replay::replay("witness_lines", witness_lines::run);
}
