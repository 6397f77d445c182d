//! Tests of the oracle against a model, QEMU's own logs and images, and hostile input.
#![expect(clippy::unwrap_used)]

mod build;
mod compare;
mod corpus;
mod crash_states;
mod hostile;
mod ledger;
mod model;
mod model_tests;
mod qcow2;
mod qemu;
mod qemu_logs;
#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;
mod speed;
mod spread;
mod strategies;
#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;
mod verdicts;
mod windows;
