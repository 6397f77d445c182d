//! The outcome of one transition: its disks, the loss and the recovery time.

use contract::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use witness::ledger::RecordNumber;

use super::Verdict;

/// One transition.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EdgeOutcome {
    /// `failover`, `reprotect`, `failback`, `reprotect-forward`.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Why the verdict is not a pass; empty if it is.
    pub why: String,
    /// The oracle's verdict on each recovered disk.
    pub disks: Vec<DiskOutcome>,
    /// The data that was lost, as measured. On an edge that begins replication: what would be lost
    /// if the source failed at its end.
    pub rpo: Rpo,
    /// How long recovery took, as measured.
    pub rto: Rto,
    /// What was sent to begin replication, on an edge that does; `None` on others, if nobody
    /// counted it, and in results of older suites.
    #[serde(default)]
    pub sent: Option<Sent>,
    /// The sectors that were altered to test the oracle, which reported them; `None` if the edge
    /// failed before.
    pub flip: Option<String>,
    /// What was found about all disks together. Results of older suites lack it.
    #[serde(default)]
    pub evidence: EdgeEvidence,
}

impl EdgeOutcome {
    /// An edge that needs a capability that the core does not have.
    #[must_use]
    pub fn skipped(name: &str, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::Skipped,
            why: why.to_owned(),
            disks: Vec::new(),
            rpo: Rpo::default(),
            rto: Rto::default(),
            sent: None,
            flip: None,
            evidence: EdgeEvidence::default(),
        }
    }
}

/// What was sent to a site until the first recovery point in a new direction was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// Bytes that were written at the site, counted below the core.
    pub bytes: u64,
    /// Bytes of the parts of 64 KiB that had changed on either side when the edge was judged, or of
    /// all that are not zeroes if the site had no disks of the machine.
    pub due: u64,
    /// Recovery points that were there when it was counted.
    pub points: u64,
}

impl Sent {
    /// Bytes that were sent for each byte that was due; `None` if nothing was due.
    #[must_use]
    pub fn cost(&self) -> Option<f64> {
        (self.due > 0).then(|| self.bytes as f64 / self.due as f64)
    }
}

/// What the oracle found about the disks of an edge together, and what it takes to find that again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EdgeEvidence {
    /// The last ledger record before the write logs began; `None` if no disk was stored, as in the
    /// simulated tier.
    pub initial_record: Option<RecordNumber>,
    /// Names of the disks that were judged, in boot order.
    pub disks: Vec<String>,
    /// The highest ledger record before which none is missing on the disks; `None` if a disk has no
    /// exact place in the write order.
    pub contiguous: Option<RecordNumber>,
    /// For a machine of a replication group: the highest record of its neighbour that it had seen.
    pub seen: Option<RecordNumber>,
    /// Whether the disks hold every write of their logs.
    pub complete: bool,
    /// Writes of the logs that the disks lack.
    pub lost_writes: u64,
    /// Bytes of those writes.
    pub lost_bytes: u64,
    /// The oracle's objection to the disks, if it has one.
    pub objection: Option<String>,
}

/// One recovered disk.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiskOutcome {
    /// `system`, `data`, …
    pub name: String,
    /// The oracle's class: `exact`, `epoch-consistent`, `torn`, `reordered`, `foreign`, `unknown`,
    /// or `wrong-size` for a disk that is not as large as the one that was replicated.
    pub oracle: String,
    /// The number of writes that the disk holds, counted from the first one of the log; the
    /// smallest number that fits. An epoch-consistent disk lacks some after its last flush.
    pub cut: Option<u64>,
    /// Writes in the log.
    pub of: u64,
    /// Bytes compared.
    pub compared: u64,
    /// The oracle's finding as a sentence. It names sector and write where the disk is wrong.
    pub words: String,
    /// Whether a second, independent reader `agrees`, or why it did not read the disk.
    pub second_reader: String,
    /// The files from which the disk can be judged again, relative to the scenario's directory.
    pub evidence: DiskEvidence,
}

/// The files from which a disk can be judged again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskEvidence {
    /// What the source disk held before the log began.
    pub base: String,
    /// The log of every write since then.
    pub log: String,
    /// The recovered disk.
    pub recovered: String,
    /// Files of the boot partition that hydration may have edited.
    #[serde(default)]
    pub editable_files: Vec<String>,
    /// Sectors that were not compared because edits of these files explain them, as ranges: first
    /// sector and number of sectors.
    pub ignored_sectors: Vec<(u64, u64)>,
    /// What the files held when they were judged. Results of older suites lack it.
    #[serde(default)]
    pub digests: Option<DiskDigests>,
}

/// BLAKE3 digests of the files that a disk was judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskDigests {
    /// The base.
    pub base: String,
    /// The writes that the log held at that time. The log may have grown since.
    pub log: String,
    /// The recovered disk.
    pub recovered: String,
}

/// The data that was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rpo {
    /// Milliseconds from the first lost acknowledgement to the disaster; 0 if nothing was lost.
    pub ms: u64,
    /// Acknowledged records that were lost.
    pub records: u64,
    /// Writes after the cut, over all disks, acknowledged or not.
    pub writes: u64,
    /// Bytes of those writes.
    pub bytes: u64,
    /// The last acknowledged record when the source stopped; `None` if that was not measured.
    #[serde(default)]
    pub acknowledged: Option<RecordNumber>,
    /// The last record that survived; `None` if that was not measured.
    #[serde(default)]
    pub survived: Option<RecordNumber>,
    /// Milliseconds from the moment of the recovery point, as the core states it, to the disaster:
    /// the loss that the core claims. 0 for a switchover, which claims to lose nothing; `None` if
    /// nothing was claimed.
    #[serde(default)]
    pub claimed_ms: Option<u64>,
}

impl Rpo {
    /// By how much the measured loss may exceed the claimed one. A core may read a clock of its own
    /// next to its snapshot, and clocks are converted.
    pub const TOLERANCE: Millis = Millis(500);

    /// FO-10: why the measured loss contradicts the claimed one; `None` if it does not.
    #[must_use]
    pub fn claim_objection(&self) -> Option<String> {
        let claimed = self.claimed_ms?;
        (self.ms > claimed + Self::TOLERANCE.0).then(|| {
            format!(
                "{} of acknowledged writes were lost, and the recovery point claims {}; {} more are tolerated",
                Millis(self.ms),
                Millis(claimed),
                Self::TOLERANCE
            )
        })
    }
}

/// How long a recovery took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rto {
    /// Milliseconds from the trigger to the first verified answer of the service; on an edge that
    /// begins replication: to the first recovery point. The time that the suite itself took in
    /// between is subtracted.
    pub ms: u64,
    /// The recovery time divided by the time of a cold boot of this guest in this run.
    pub boots: f64,
    /// How the time was spent.
    pub steps: Vec<RtoStep>,
}

/// Name of the part of a recovery time in which the guest boots.
pub const GUEST_BOOTS: &str = "guest boots";

/// One part of a recovery time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RtoStep {
    /// What was done in that time.
    pub name: String,
    /// Milliseconds.
    pub ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_beyond_the_claimed_one_is_an_objection_outside_the_tolerance() {
        let objects = |ms, claimed_ms| Rpo { ms, claimed_ms, ..Rpo::default() }.claim_objection().is_some();
        assert!(!objects(1_500, Some(1_000)) && objects(1_501, Some(1_000)));
        assert!(objects(501, Some(0)) && !objects(0, Some(0)) && !objects(9_000, None));
    }
}
