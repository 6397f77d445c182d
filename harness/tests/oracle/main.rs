//! The oracle against models, QEMU's own logs and images, and hostile bytes.
#![allow(clippy::unwrap_used)]

mod build;
mod hostile;
mod ledger;
mod model;
mod model_tests;
mod qcow2;
mod qemu;
mod qemu_logs;
mod speed;
mod verdicts;
mod windows;
