//! Refuses operations that the state tables do not allow.

use contract::{CoreError, ErrorCode, Operation};

use crate::state::Record;

/// Refuses an operation that the item's state does not allow.
pub(super) fn check_state(record: &Record, operation: Operation) -> Result<(), CoreError> {
    let from = record.protection;
    match record.pair.find(from, operation) {
        Some(_) => Ok(()),
        None => {
            let text = format!(
                "{operation:?} is not allowed for {} while it is {:?} on the {:?} side",
                record.id, from.phase, from.active
            );
            Err(CoreError::new(ErrorCode::NotAllowedInState, text))
        }
    }
}
