//! The state machine of a VMware or physical pair, as a table (LC-01, LC-02).
//!
//! A failback is a failover that leaves the recovery side (LC-08); so the table holds each verb twice, once a
//! side, and nothing else differs. What is not in the table is refused and changes nothing.

use contract::{Operation, Phase, Protection, Side};

/// One allowed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where the item stands.
    pub from: Protection,
    /// What is asked.
    pub operation: Operation,
    /// Where it stands when the job has succeeded. `None`: it is an item no more.
    pub to: Option<Protection>,
}

const fn at(phase: Phase, active: Side) -> Protection {
    Protection { phase, active }
}

const fn row(from: Protection, operation: Operation, to: Protection) -> Row {
    Row { from, operation, to: Some(to) }
}

const fn ends(from: Protection) -> Row {
    Row { from, operation: Operation::DisableProtection, to: None }
}

use Operation::{ChangePoint, Commit, Reprotect, UnplannedFailover};
use Phase::{CommitPending, Committed, InitialReplication, Protected, Stopped};
use Side::{Primary, Recovery};

/// The table. Planned failover does not occur in it (FO-21).
pub const VMWARE: &[Row] = &[
    ends(at(InitialReplication, Primary)),
    // Stage 1: fail over.
    row(at(Protected, Primary), UnplannedFailover, at(CommitPending, Recovery)),
    ends(at(Protected, Primary)),
    row(at(CommitPending, Recovery), ChangePoint, at(CommitPending, Recovery)),
    row(at(CommitPending, Recovery), Commit, at(Committed, Recovery)),
    // Stage 2: reprotect the cloud machine.
    row(at(Committed, Recovery), Reprotect, at(Protected, Recovery)),
    ends(at(Committed, Recovery)),
    // Stage 3: fail back. The points are merged into the machine's own disks, so none is left to change to.
    row(at(Protected, Recovery), UnplannedFailover, at(CommitPending, Primary)),
    ends(at(Protected, Recovery)),
    row(at(CommitPending, Primary), Commit, at(Committed, Primary)),
    // Stage 4: reprotect the on-premises machine, which closes the circle.
    row(at(Committed, Primary), Reprotect, at(Protected, Primary)),
    ends(at(Committed, Primary)),
    // A failover that broke off: only a fresh start helps (FO-12).
    ends(at(Stopped, Primary)),
    ends(at(Stopped, Recovery)),
];

/// The row of an operation, if it is allowed.
#[must_use]
pub fn find(table: &[Row], from: Protection, operation: Operation) -> Option<Row> {
    table.iter().copied().find(|row| row.from == from && row.operation == operation)
}

/// What may be asked of an item.
#[must_use]
pub fn allowed(table: &[Row], from: Protection) -> Vec<Operation> {
    table.iter().filter(|row| row.from == from).map(|row| row.operation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_stages_end_where_they_began() {
        let mut now = at(Protected, Primary);
        for operation in [UnplannedFailover, Commit, Reprotect, UnplannedFailover, Commit, Reprotect] {
            let to = find(VMWARE, now, operation).and_then(|row| row.to);
            assert!(to.is_some(), "{operation:?} is refused at {now:?}");
            now = to.unwrap_or(now);
        }
        assert_eq!(now, at(Protected, Primary));
    }

    #[test]
    fn no_pair_of_state_and_operation_occurs_twice() {
        for (i, row) in VMWARE.iter().enumerate() {
            let again = VMWARE[i + 1..].iter().any(|r| (r.from, r.operation) == (row.from, row.operation));
            assert!(!again, "{row:?}");
        }
    }

    #[test]
    fn failback_without_reprotection_is_refused() {
        // LC-14
        assert_eq!(find(VMWARE, at(Committed, Recovery), UnplannedFailover), None);
    }

    #[test]
    fn a_point_cannot_be_changed_after_commit() {
        // FO-03
        assert_eq!(find(VMWARE, at(Committed, Recovery), ChangePoint), None);
    }
}
