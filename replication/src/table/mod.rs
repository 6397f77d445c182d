//! State machines, one a platform pair, as tables (LC-01, LC-02).
//!
//! A failback is a failover that leaves the recovery side (LC-08); so a table holds each verb twice, once a side.
//! What is not in the table is refused with `not-allowed-in-state` and changes nothing.

mod hyperv;
mod reprotecting;

use std::fmt::Write as _;

use contract::{Operation, Phase, PlatformKind, Protection, Side};
use serde::{Deserialize, Serialize};

/// A kind of pair, which decides what is allowed when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pair {
    /// VMware or physical machines to a cloud: reprotect first, then fail back unplanned.
    Vmware,
    /// Hyper-V machines to a cloud: fail back planned, straight from committed (C-01).
    HyperV,
    /// One cloud region to another: both directions alike (C-06).
    Regions,
}

impl Pair {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Vmware, Self::HyperV, Self::Regions];

    /// The kind of a pair of platforms; `None` if no machine moves between them.
    #[must_use]
    pub fn of(primary: PlatformKind, recovery: PlatformKind) -> Option<Self> {
        match (primary, recovery) {
            (PlatformKind::Vmware | PlatformKind::Physical, PlatformKind::Azure) => Some(Self::Vmware),
            (PlatformKind::HyperV, PlatformKind::Azure) => Some(Self::HyperV),
            (PlatformKind::Azure, PlatformKind::Azure) => Some(Self::Regions),
            _ => None,
        }
    }

    /// The table.
    #[must_use]
    pub fn rows(self) -> &'static [Row] {
        match self {
            // They differ in what a failover does (hydration), not in what is allowed when.
            Self::Vmware | Self::Regions => reprotecting::ROWS,
            Self::HyperV => hyperv::ROWS,
        }
    }

    /// The row of an operation, if it is allowed.
    #[must_use]
    pub fn find(self, from: Protection, operation: Operation) -> Option<Row> {
        self.rows().iter().copied().find(|row| row.from == from && row.operation == operation)
    }

    /// What may be asked of an item that stands at `from`.
    #[must_use]
    pub fn allowed(self, from: Protection) -> Vec<Operation> {
        self.rows().iter().filter(|row| row.from == from).map(|row| row.operation).collect()
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Vmware => "VMware and physical machines",
            Self::HyperV => "Hyper-V machines",
            Self::Regions => "Region to region",
        }
    }

    /// The table as a Mermaid state diagram.
    #[must_use]
    pub fn diagram(self) -> String {
        let mut text = String::from("stateDiagram-v2\n");
        for row in self.rows() {
            let to = row.to.map_or_else(|| "[*]".to_owned(), name);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {} --> {to}: {:?}", name(row.from), row.operation);
        }
        text
    }
}

/// Every table as a page of diagrams, for `docs/states.md`.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(
        "# States\n\nDrawn from the tables in `replication/src/table` by `cargo xtask diagrams`. What is not drawn is \
         refused with\n`not-allowed-in-state` and changes nothing.\n",
    );
    for pair in Pair::ALL {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {}\n\n```mermaid\n{}```\n", pair.title(), pair.diagram());
    }
    text
}

/// A state's name in a diagram.
fn name(state: Protection) -> String {
    format!("{:?}_{:?}", state.phase, state.active)
}

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

/// An operation that leaves the item where it stands.
const fn stay(at: Protection, operation: Operation) -> Row {
    row(at, operation, at)
}

const fn ends(from: Protection) -> Row {
    Row { from, operation: Operation::DisableProtection, to: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Operation::{Commit, PlannedFailover, Reprotect, ReverseReplicate, UnplannedFailover};
    use contract::Phase::{CommitPending, Committed, InitialReplication, Protected, Stopped};
    use contract::Side::{Primary, Recovery};

    const PHASES: [Phase; 5] = [InitialReplication, Protected, CommitPending, Committed, Stopped];

    /// Follows `operations` from a protected machine on its primary side.
    fn follow(pair: Pair, operations: &[Operation]) -> Option<Protection> {
        operations.iter().try_fold(at(Protected, Primary), |now, op| pair.find(now, *op)?.to)
    }

    #[test]
    fn every_pairs_cycle_ends_where_it_began() {
        let reprotecting = [UnplannedFailover, Commit, Reprotect, UnplannedFailover, Commit, Reprotect];
        let hyperv = [PlannedFailover, Commit, PlannedFailover, Commit, ReverseReplicate];
        for (pair, cycle) in
            [(Pair::Vmware, &reprotecting[..]), (Pair::Regions, &reprotecting), (Pair::HyperV, &hyperv)]
        {
            assert_eq!(follow(pair, cycle), Some(at(Protected, Primary)), "{pair:?}");
        }
    }

    #[test]
    fn no_pair_of_state_and_operation_occurs_twice() {
        for pair in Pair::ALL {
            for (i, row) in pair.rows().iter().enumerate() {
                let again =
                    pair.rows()[i + 1..].iter().any(|r| (r.from, r.operation) == (row.from, row.operation));
                assert!(!again, "{pair:?} {row:?}");
            }
        }
    }

    #[test]
    fn every_state_that_is_reached_can_be_left() {
        for pair in Pair::ALL {
            for state in pair.rows().iter().filter_map(|row| row.to) {
                assert!(!pair.allowed(state).is_empty(), "{pair:?} {state:?}");
            }
        }
    }

    #[test]
    fn what_the_catalogue_forbids_is_in_no_table() {
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

    #[test]
    fn the_page_of_diagrams_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/states.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == page(), "docs/states.md is out of date: `cargo xtask diagrams` draws it again");
    }

    #[test]
    fn a_diagram_has_an_arrow_for_every_row() {
        for pair in Pair::ALL {
            assert_eq!(pair.diagram().matches("-->").count(), pair.rows().len());
        }
    }
}
