//! Region to region: both directions alike, drills included.

use contract::Operation::{
    CancelFailover, ChangePoint, Commit, Reprotect, TestFailover, TestFailoverCleanup, UnplannedFailover,
};
use contract::Phase::{CommitPending, Committed, InitialReplication, Protected, Stopped};
use contract::Side::{Primary, Recovery};

use super::{Row, at, ends, row, stay};

pub(super) const ROWS: &[Row] = &[
    ends(at(InitialReplication, Primary)),
    stay(at(Protected, Primary), TestFailover),
    stay(at(Protected, Primary), TestFailoverCleanup),
    row(at(Protected, Primary), UnplannedFailover, at(CommitPending, Recovery)),
    row(at(Protected, Primary), CancelFailover, at(Stopped, Primary)),
    ends(at(Protected, Primary)),
    stay(at(CommitPending, Recovery), ChangePoint),
    row(at(CommitPending, Recovery), Commit, at(Committed, Recovery)),
    row(at(Committed, Recovery), Reprotect, at(Protected, Recovery)),
    ends(at(Committed, Recovery)),
    row(at(Protected, Recovery), UnplannedFailover, at(CommitPending, Primary)),
    row(at(Protected, Recovery), CancelFailover, at(Stopped, Recovery)),
    ends(at(Protected, Recovery)),
    row(at(CommitPending, Primary), Commit, at(Committed, Primary)),
    row(at(Committed, Primary), Reprotect, at(Protected, Primary)),
    ends(at(Committed, Primary)),
    ends(at(Stopped, Primary)),
    ends(at(Stopped, Recovery)),
];
