//! What every machine of the real tier is and does: its disks, its load and its replication policy.

use contract::{Bytes, Millis};
use witness::protocol::Load;

/// Roles of a machine's disks, in boot order.
pub(crate) const DISKS: [&str; 2] = ["system", "data"];
/// Memory of a machine.
pub(crate) const MEMORY: Bytes = Bytes(256 << 20);
/// Name of the replication policy.
pub(crate) const POLICY: &str = "continuous";
/// Time between two transfers.
pub(crate) const INTERVAL: Millis = Millis(1_000);
/// How many recovery points the policy keeps. Up to twice as many exist until the oldest are
/// merged.
pub(crate) const MOST_POINTS: u32 = 8;
/// Longest time between two application-consistent points, where a scenario needs them.
pub(crate) const APP_CONSISTENT_EVERY: Millis = Millis(20_000);
/// How many recovery points the policy keeps then: those of several such times, so that newer
/// points do not push an application-consistent one out.
pub(crate) const MOST_POINTS_WITH_APP_CONSISTENT: u32 = 80;

/// The load that a guest runs while it is protected. Guests write the epoch into their records, so
/// that records of different boots differ.
pub(crate) fn load(epoch: u32) -> Load {
    Load {
        epoch,
        records_per_second: 25,
        churn_per_second: 10,
        churn_bytes: 16 * 1024,
        transfers_per_second: 5,
        seed: u64::from(epoch),
    }
}
