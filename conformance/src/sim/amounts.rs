//! Amounts of data: how much a machine changes, and how much of it may be transferred.

use std::collections::BTreeSet;

use contract::{Bytes, Timestamp};
use simulator::testbed::INTERVAL;
use simulator::{Load, SimBoot, SimInstall};

/// Granularity in which the suite counts what a machine changed, in bytes.
const GRAIN: u64 = 64 * 1024;

/// A machine that rewrites a large piece of each disk every minute: it fills most of its disks
/// within hours, and writes little during a failback.
pub(crate) fn filling(machine: &str) -> SimInstall {
    let load = Load { record_every: INTERVAL, churn_every: INTERVAL, churn_bytes: 64 * 1024, ..Load::USUAL };
    let disks = vec![("system".into(), Bytes(8 << 20)), ("data".into(), Bytes(8 << 20))];
    SimInstall { load, disks, ..SimInstall::new(machine) }
}

/// The most bytes that may arrive where so many have changed, in grains of [`GRAIN`]. A core may
/// transfer larger grains, and a little of its own.
pub(crate) fn most(changed: u64) -> u64 {
    4 * changed + (1 << 20)
}

/// How much of its disks a machine has written since `from`, in bytes of whole grains.
pub(crate) fn written_since(boot: &SimBoot, from: Timestamp) -> u64 {
    let log = boot.log();
    let grains = log.iter().filter(|write| write.at >= from).flat_map(|write| {
        let last = (write.offset + u64::from(write.length)).div_ceil(GRAIN);
        (write.offset / GRAIN..last).map(|grain| (write.disk, grain))
    });
    grains.collect::<BTreeSet<_>>().len() as u64 * GRAIN
}
