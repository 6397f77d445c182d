//! Choosing recovery points.

use contract::{Consistency, CoreError, ErrorCode, PointChoice, Policy, RecoveryPoint, Timestamp};

use crate::context::Context;
use crate::error::not_replicating;
use crate::state::{Record, Replica};

/// The points that can be chosen: those within the retention time, and always the newest (RP-12,
/// RP-13).
pub(crate) fn available(
    replica: &Replica,
    policy: &Policy,
    now: Timestamp,
) -> impl Iterator<Item = RecoveryPoint> {
    let newest = replica.points.len().saturating_sub(1);
    let retained = move |(index, point): &(usize, RecoveryPoint)| {
        *index == newest || now.since(point.time) <= policy.retention
    };
    replica.points.iter().cloned().enumerate().filter(retained).map(|(_, point)| point)
}

/// The point that a choice means (RP-01). *Latest* and *latest processed* select the same point
/// here; the caller processes all landed transfers first for *latest*.
pub(crate) fn choose(
    ctx: &Context,
    record: &Record,
    choice: &PointChoice,
) -> Result<RecoveryPoint, CoreError> {
    choose_as_of(ctx, record, choice, ctx.now())
}

/// The point that a choice meant when it was accepted: a point does not expire while a job waits to
/// use it.
pub(crate) fn choose_as_of(
    ctx: &Context,
    record: &Record,
    choice: &PointChoice,
    accepted: Timestamp,
) -> Result<RecoveryPoint, CoreError> {
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let policy = ctx.policies.in_force(record)?.policy;
    let mut points = available(replica, &policy, accepted);
    let none = |what: &str| CoreError::new(ErrorCode::NoRecoveryPoint, format!("there is no {what} yet"));
    match choice {
        PointChoice::Latest | PointChoice::LatestProcessed => {
            points.last().ok_or_else(|| none("recovery point"))
        }
        PointChoice::LatestAppConsistent => {
            if policy.app_consistent_every.is_none() {
                let text =
                    "the policy takes no application-consistent points; enable them or choose another point";
                return Err(CoreError::new(ErrorCode::AppConsistencyDisabled, text));
            }
            let app_consistent = |point: &RecoveryPoint| point.consistency == Consistency::App;
            points.filter(app_consistent).last().ok_or_else(|| none("application-consistent recovery point"))
        }
        PointChoice::LatestMultiVm | PointChoice::LatestMultiVmAppConsistent => {
            let text = "a multi-VM point can be chosen only for a plan with a replication group";
            Err(CoreError::new(ErrorCode::MultiVmNeedsGroup, text))
        }
        PointChoice::Custom(id) => {
            points.find(|point| point.id == *id).ok_or_else(|| match replica.point(id) {
                Some(_) => {
                    let text =
                        format!("recovery point {id} is older than {}; choose a newer one", policy.retention);
                    CoreError::new(ErrorCode::PointExpired, text)
                }
                None => replica.missing(&record.id, id),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Bytes, Millis, PlatformKind, Side};

    const HOUR: u64 = 60 * 60 * 1000;
    const NOW: Timestamp = Timestamp(1_000_000 * HOUR);

    fn point(age: Millis) -> RecoveryPoint {
        RecoveryPoint {
            id: format!("p{age}").as_str().into(),
            time: Timestamp(NOW.0 - age.0),
            consistency: Consistency::Crash,
            processed: true,
            multi_vm: None,
            change_id: "c".into(),
            transferred: Bytes(0),
            volumes: Vec::new(),
        }
    }

    #[test]
    fn a_point_is_available_until_its_retention_time_has_passed() {
        let policy = Policy::for_machines_of(PlatformKind::Vmware, Millis(5 * 60_000));
        let mut replica = Replica::new(Side::Recovery, 1, Vec::new());
        replica.points = vec![point(Millis(72 * HOUR)), point(Millis(0))];
        assert_eq!(available(&replica, &policy, NOW).count(), 2);
        assert_eq!(available(&replica, &policy, Timestamp(NOW.0 + 1)).count(), 1);
    }
}
