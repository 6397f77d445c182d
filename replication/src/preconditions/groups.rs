//! Replication groups on their way back. A group is reprotected by a plan, so its machines are looked at together.

use contract::{CoreError, ErrorCode, ReprotectRequest, Side};

use crate::item::Record;
use crate::table::Pair;

/// Refuses groups whose machines differ in operating system (RE-10) or master target (RE-12).
pub(crate) fn check(told: &[(Record, ReprotectRequest)]) -> Result<(), CoreError> {
    let back = |(record, _): &&(Record, ReprotectRequest)| {
        record.group.is_some() && record.pair == Pair::Vmware && record.protection.active == Side::Recovery
    };
    let told: Vec<_> = told.iter().filter(back).collect();
    for (index, (one, by)) in told.iter().enumerate() {
        for (other, through) in told[index + 1..].iter().filter(|(other, _)| other.group == one.group) {
            let (os, theirs) = (one.origin.os, other.origin.os);
            if os != theirs {
                let text = format!(
                    "{} is {os:?} and {} of its group is {theirs:?}; they cannot come back together (RE-10)",
                    one.id, other.id
                );
                return Err(CoreError::new(ErrorCode::GroupMixesOs, text));
            }
            if by.master_target != through.master_target {
                let text = format!(
                    "{} and {} of its group name different master targets; take one for both (RE-12)",
                    one.id, other.id
                );
                return Err(CoreError::new(ErrorCode::GroupMixesMasterTargets, text));
            }
        }
    }
    Ok(())
}
