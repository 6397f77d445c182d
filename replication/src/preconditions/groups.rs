//! Reprotection of replication groups. A plan reprotects a group as a whole, so its machines are
//! checked together.

use contract::{CoreError, ErrorCode, ReprotectRequest, Side};

use crate::state::Record;
use crate::table::Pair;

/// Refuses groups whose machines have different operating systems (RE-10) or master targets
/// (RE-12).
pub(crate) fn check(machines: &[(Record, ReprotectRequest)]) -> Result<(), CoreError> {
    let fails_back = |(record, _): &&(Record, ReprotectRequest)| {
        record.group.is_some() && record.pair == Pair::Vmware && record.protection.active == Side::Recovery
    };
    let machines: Vec<_> = machines.iter().filter(fails_back).collect();
    for (index, one) in machines.iter().enumerate() {
        for other in machines[index + 1..].iter().filter(|other| other.0.group == one.0.group) {
            check_pair(one, other)?;
        }
    }
    Ok(())
}

fn check_pair(
    (record, request): &(Record, ReprotectRequest),
    (other, other_request): &(Record, ReprotectRequest),
) -> Result<(), CoreError> {
    let os = record.source_identity.os;
    let other_os = other.source_identity.os;
    if os != other_os {
        let text = format!(
            "{} runs {os:?} and {} of its group runs {other_os:?}; they cannot fail back together (RE-10)",
            record.id, other.id
        );
        return Err(CoreError::new(ErrorCode::GroupMixesOs, text));
    }
    if request.master_target != other_request.master_target {
        let text = format!(
            "{} and {} of its group name different master targets; choose one for both (RE-12)",
            record.id, other.id
        );
        return Err(CoreError::new(ErrorCode::GroupMixesMasterTargets, text));
    }
    Ok(())
}
