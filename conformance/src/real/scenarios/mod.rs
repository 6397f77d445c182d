//! The scripts of the real tier, one file each.
//!
//! To add a scenario, write a file with a constant `SCRIPT`, declare it here, and add a row to
//! `scenarios.toml` that names it.

mod change_tracking_limits;
mod cycle;
mod disk_growth;
mod faults;
mod hydration;
mod hyperv;
mod identity;
mod iops;
mod networks;
mod one_way;
mod qemu_killed;
mod replication_group;
mod test_failover;
mod windows_refused;

use crate::real::script::Script;

// `build.rs` writes SCRIPTS from the rows of `scenarios.toml`.
include!(concat!(env!("OUT_DIR"), "/scripts.rs"));
