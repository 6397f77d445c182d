//! VMware and physical machines, machines of a cloud region and KVM machines: reprotect first, then
//! fail back with the same operation. There is no planned failover (FO-21), and a test failover is
//! possible only while the primary side is active.

use contract::Operation::{
    CancelFailover, ChangePoint, Commit, Reprotect, TestFailover, TestFailoverCleanup, UnplannedFailover,
    Verify,
};
use contract::Phase::{CommitPending, Committed, InitialReplication, Protected, Stopped};
use contract::Side::{Primary, Recovery};

use crate::table::row::{Row, at, ends, row, stay};

pub(super) const ROWS: &[Row] = &[
    ends(at(InitialReplication, Primary)),
    // Stage 1: fail over.
    stay(at(Protected, Primary), TestFailover),
    stay(at(Protected, Primary), TestFailoverCleanup),
    row(at(Protected, Primary), UnplannedFailover, at(CommitPending, Recovery)),
    row(at(Protected, Primary), CancelFailover, at(Stopped, Primary)),
    stay(at(Protected, Primary), Verify),
    ends(at(Protected, Primary)),
    stay(at(CommitPending, Recovery), ChangePoint),
    row(at(CommitPending, Recovery), Commit, at(Committed, Recovery)),
    // Stage 2: reprotect the cloud machine.
    row(at(Committed, Recovery), Reprotect, at(Protected, Recovery)),
    ends(at(Committed, Recovery)),
    // Stage 3: fail back. The points are merged into the machine's own disks, so the point cannot
    // be changed.
    row(at(Protected, Recovery), UnplannedFailover, at(CommitPending, Primary)),
    row(at(Protected, Recovery), CancelFailover, at(Stopped, Recovery)),
    stay(at(Protected, Recovery), Verify),
    ends(at(Protected, Recovery)),
    row(at(CommitPending, Primary), Commit, at(Committed, Primary)),
    // Stage 4: reprotect the on-premises machine, which completes the cycle.
    row(at(Committed, Primary), Reprotect, at(Protected, Primary)),
    ends(at(Committed, Primary)),
    // A failover was cancelled or failed during its merge: protection has to be enabled anew
    // (FO-12).
    ends(at(Stopped, Primary)),
    ends(at(Stopped, Recovery)),
];
