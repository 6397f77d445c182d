//! The committed inputs of the fuzz targets, run as ordinary tests.

#[path = "../fuzz/src/agent_lines.rs"]
mod agent_lines;
#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;

#[test]
fn inputs_of_agent_lines() {
    replay::replay("agent_lines", agent_lines::run);
}
