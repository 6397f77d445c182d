//! Tests of the oracle against a model, QEMU's own logs and images, and hostile input.
#![expect(clippy::unwrap_used)]

mod build;
mod crash_states;
mod hostile;
mod ledger;
mod model;
mod model_tests;
mod qcow2;
mod qemu;
mod qemu_logs;
mod speed;
mod spread;
mod verdicts;
mod windows;
