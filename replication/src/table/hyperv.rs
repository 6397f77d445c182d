//! Hyper-V machines: failover is planned or unplanned; failback is planned only and needs no
//! reprotection (HF-01, HF-04).

use contract::Operation::{
    CancelFailover, ChangePoint, Commit, CompleteFailover, PlannedFailover, ReverseReplicate, TestFailover,
    TestFailoverCleanup, UnplannedFailover, Verify,
};
use contract::Phase::{CommitPending, Committed, InitialReplication, Protected, Stopped};
use contract::Side::{Primary, Recovery};

use crate::table::row::{Row, at, ends, row, stay};

pub(super) const ROWS: &[Row] = &[
    ends(at(InitialReplication, Primary)),
    // Failover.
    stay(at(Protected, Primary), TestFailover),
    stay(at(Protected, Primary), TestFailoverCleanup),
    row(at(Protected, Primary), PlannedFailover, at(CommitPending, Recovery)),
    row(at(Protected, Primary), UnplannedFailover, at(CommitPending, Recovery)),
    row(at(Protected, Primary), CancelFailover, at(Stopped, Primary)),
    stay(at(Protected, Primary), Verify),
    ends(at(Protected, Primary)),
    stay(at(CommitPending, Recovery), ChangePoint),
    row(at(CommitPending, Recovery), Commit, at(Committed, Recovery)),
    // Failback: the data synchronisation replaces reprotection. While it waits it can be completed
    // or cancelled. After a cancellation the cloud machine stays the valid copy (HF-21).
    row(at(Committed, Recovery), PlannedFailover, at(CommitPending, Primary)),
    row(at(Committed, Recovery), CompleteFailover, at(CommitPending, Primary)),
    stay(at(Committed, Recovery), CancelFailover),
    ends(at(Committed, Recovery)),
    row(at(CommitPending, Primary), Commit, at(Committed, Primary)),
    // Replication to the cloud starts again.
    row(at(Committed, Primary), ReverseReplicate, at(Protected, Primary)),
    ends(at(Committed, Primary)),
    ends(at(Stopped, Primary)),
];
