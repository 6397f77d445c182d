//! Kinds of platform pairs, each with its state table.

use contract::{Operation, PlatformKind, Protection};
use serde::{Deserialize, Serialize};

use crate::table::row::Row;
use crate::table::{hyperv, reprotecting};

/// A kind of platform pair. It decides which operations are allowed in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pair {
    /// VMware or physical machines to a cloud: reprotect first, then fail back unplanned.
    Vmware,
    /// Hyper-V machines to a cloud: fail back planned, straight from committed (C-01).
    HyperV,
    /// One cloud region to another: both directions work alike (C-06).
    Regions,
    /// KVM machines to a cloud or to other KVM hosts: reprotect first, then fail back unplanned.
    Kvm,
}

impl Pair {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Vmware, Self::HyperV, Self::Regions, Self::Kvm];

    /// The kind of a pair of platforms; `None` if machines cannot be protected between them.
    #[must_use]
    pub fn of(primary: PlatformKind, recovery: PlatformKind) -> Option<Self> {
        match (primary, recovery) {
            (PlatformKind::Vmware | PlatformKind::Physical, PlatformKind::Azure) => Some(Self::Vmware),
            (PlatformKind::HyperV, PlatformKind::Azure) => Some(Self::HyperV),
            (PlatformKind::Azure, PlatformKind::Azure) => Some(Self::Regions),
            (PlatformKind::Kvm, PlatformKind::Azure | PlatformKind::Kvm) => Some(Self::Kvm),
            _ => None,
        }
    }

    /// The state table.
    #[must_use]
    pub fn rows(self) -> &'static [Row] {
        match self {
            // These pairs differ in what a failover does (hydration), not in when operations are
            // allowed.
            Self::Vmware | Self::Regions | Self::Kvm => reprotecting::ROWS,
            Self::HyperV => hyperv::ROWS,
        }
    }

    /// The row of an operation in a state; `None` if the operation is not allowed there.
    #[must_use]
    pub fn find(self, from: Protection, operation: Operation) -> Option<Row> {
        self.rows().iter().copied().find(|row| row.from == from && row.operation == operation)
    }

    /// Operations that are allowed in state `from`.
    #[must_use]
    pub fn allowed(self, from: Protection) -> Vec<Operation> {
        self.rows().iter().filter(|row| row.from == from).map(|row| row.operation).collect()
    }

    /// Title for documents and messages.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Vmware => "VMware and physical machines",
            Self::HyperV => "Hyper-V machines",
            Self::Regions => "Region to region",
            Self::Kvm => "KVM machines",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::row::at;
    use contract::Operation::{Commit, PlannedFailover, Reprotect, ReverseReplicate, UnplannedFailover};
    use contract::Phase::{CommitPending, Committed, InitialReplication, Protected, Stopped};
    use contract::Side::{Primary, Recovery};

    const PHASES: [contract::Phase; 5] = [InitialReplication, Protected, CommitPending, Committed, Stopped];

    /// The state after `operations`, starting from a protected machine on its primary side.
    fn follow(pair: Pair, operations: &[Operation]) -> Option<Protection> {
        operations.iter().try_fold(at(Protected, Primary), |now, op| pair.find(now, *op)?.to)
    }

    #[test]
    fn each_pair_returns_to_its_first_state_after_a_full_cycle() {
        let reprotecting = [UnplannedFailover, Commit, Reprotect, UnplannedFailover, Commit, Reprotect];
        let hyperv = [PlannedFailover, Commit, PlannedFailover, Commit, ReverseReplicate];
        for (pair, cycle) in [
            (Pair::Vmware, &reprotecting[..]),
            (Pair::Regions, &reprotecting),
            (Pair::Kvm, &reprotecting),
            (Pair::HyperV, &hyperv),
        ] {
            assert_eq!(follow(pair, cycle), Some(at(Protected, Primary)), "{pair:?}");
        }
    }

    #[test]
    fn a_table_lists_each_operation_once_per_state() {
        for pair in Pair::ALL {
            for (i, row) in pair.rows().iter().enumerate() {
                let again =
                    pair.rows()[i + 1..].iter().any(|r| (r.from, r.operation) == (row.from, row.operation));
                assert!(!again, "{pair:?} {row:?}");
            }
        }
    }

    #[test]
    fn every_reachable_state_allows_an_operation() {
        for pair in Pair::ALL {
            for state in pair.rows().iter().filter_map(|row| row.to) {
                assert!(!pair.allowed(state).is_empty(), "{pair:?} {state:?}");
            }
        }
    }

    #[test]
    fn operations_that_the_catalogue_forbids_are_in_no_table() {
        for pair in Pair::ALL {
            for side in [Primary, Recovery] {
                // FO-03, LC-03, LC-05
                assert_eq!(pair.find(at(Committed, side), Operation::ChangePoint), None);
                assert_eq!(pair.find(at(InitialReplication, side), UnplannedFailover), None);
                assert_eq!(pair.find(at(Committed, side), UnplannedFailover), None);
            }
        }
        // FO-21, LC-14, HF-04, HF-03, HF-17
        assert_eq!(Pair::Vmware.find(at(Protected, Primary), PlannedFailover), None);
        assert_eq!(Pair::Vmware.find(at(Committed, Recovery), PlannedFailover), None);
        for phase in PHASES {
            assert_eq!(Pair::HyperV.find(at(phase, Recovery), UnplannedFailover), None);
            assert_eq!(Pair::HyperV.find(at(phase, Recovery), Reprotect), None);
        }
        assert_eq!(Pair::HyperV.find(at(CommitPending, Recovery), PlannedFailover), None);
        assert_eq!(Pair::HyperV.find(at(CommitPending, Primary), ReverseReplicate), None);
    }
}
