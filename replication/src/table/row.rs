//! One row of a state table.

use contract::{Operation, Phase, Protection, Side};

/// An operation that is allowed in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// State of the item when the operation is requested.
    pub from: Protection,
    /// The operation.
    pub operation: Operation,
    /// State after the job has succeeded. `None`: the item is no longer protected.
    pub to: Option<Protection>,
}

pub(super) const fn at(phase: Phase, active: Side) -> Protection {
    Protection { phase, active }
}

pub(super) const fn row(from: Protection, operation: Operation, to: Protection) -> Row {
    Row { from, operation, to: Some(to) }
}

/// An operation that does not change the state.
pub(super) const fn stay(at: Protection, operation: Operation) -> Row {
    row(at, operation, at)
}

/// Protection can be disabled in this state.
pub(super) const fn ends(from: Protection) -> Row {
    Row { from, operation: Operation::DisableProtection, to: None }
}
