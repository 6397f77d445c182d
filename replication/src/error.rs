//! Errors that several modules return.

use contract::{CoreError, ErrorCode};

/// A request names something that does not exist.
pub(crate) fn unknown(what: &str, id: &dyn std::fmt::Display) -> CoreError {
    CoreError::new(ErrorCode::UnknownId, format!("there is no {what} {id}"))
}

/// An operation needs a replica and the item has none.
pub(crate) fn not_replicating() -> CoreError {
    CoreError::new(ErrorCode::NotAllowedInState, "the item does not replicate")
}
