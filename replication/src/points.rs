//! Which recovery points can be chosen, and which are merged away.

use std::collections::BTreeSet;

use contract::{Consistency, CoreError, ErrorCode, Millis, PointChoice, Policy, RecoveryPoint, Timestamp};

use crate::core::Inner;
use crate::item::{Record, Replica};
use crate::processor::not_replicating;

const HOUR: u64 = 60 * 60 * 1000;

/// Points older than the first time stay one for each of the second (EX-R4). Younger ones stay all.
const TIERS: [(Millis, Millis); 2] =
    [(Millis(2 * HOUR), Millis(HOUR)), (Millis(24 * HOUR), Millis(2 * HOUR))];

/// The points that can be chosen now: those inside the retention time, and always the newest (RP-12, RP-13).
pub(crate) fn offered(
    replica: &Replica,
    policy: &Policy,
    now: Timestamp,
) -> impl Iterator<Item = RecoveryPoint> {
    let newest = replica.points.len().saturating_sub(1);
    let inside = move |(index, point): &(usize, RecoveryPoint)| {
        *index == newest || now.since(point.time) <= policy.retention
    };
    replica.points.iter().cloned().enumerate().filter(inside).map(|(_, point)| point)
}

/// The point a choice means now (RP-01). *Latest* and *latest processed* differ in what was processed before.
pub(crate) fn choose(
    core: &Inner,
    record: &Record,
    choice: &PointChoice,
) -> Result<RecoveryPoint, CoreError> {
    let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
    let policy = core.policies().in_force(record)?.policy;
    let mut points = offered(replica, &policy, core.now());
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
            let at_rest = |point: &RecoveryPoint| point.consistency == Consistency::App;
            points.filter(at_rest).last().ok_or_else(|| none("application-consistent recovery point"))
        }
        PointChoice::LatestMultiVm | PointChoice::LatestMultiVmAppConsistent => {
            let text = "a point of several machines is for a plan with a replication group";
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

/// Which points go, by their index, oldest first: those outside the retention time, those thinned out by age, and
/// those beyond the policy's number once twice as many are there. Never the newest.
pub(crate) fn surplus(points: &[RecoveryPoint], policy: &Policy, now: Timestamp) -> Vec<usize> {
    let Some(newest) = points.len().checked_sub(1) else { return Vec::new() };
    let mut taken = BTreeSet::new();
    // From the newest on, so that the newest of each stretch of time stays.
    let mut kept: Vec<usize> = (0..=newest)
        .rev()
        .filter(|index| {
            let point = &points[*index];
            let age = now.since(point.time);
            if *index == newest {
                return true;
            }
            let one_per = TIERS.iter().rev().find(|(older, _)| age > *older).map(|(_, one_per)| one_per.0);
            let kind = (point.consistency == Consistency::App, point.multi_vm.is_some());
            age <= policy.retention
                && one_per.is_none_or(|one_per| taken.insert((one_per, point.time.0 / one_per, kind)))
        })
        .collect();
    kept.reverse();
    if let Some(most) = policy.most_points.map(|most| most as usize)
        && kept.len() >= 2 * most
    {
        kept.drain(..kept.len() - most);
    }
    (0..=newest).filter(|index| kept.binary_search(index).is_err()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use contract::PlatformKind;

    const MINUTE: u64 = 60_000;
    const NOW: Timestamp = Timestamp(1_000_000 * HOUR);

    fn policy() -> Policy {
        Policy::for_machines_of(PlatformKind::Vmware, Millis(5 * MINUTE))
    }

    fn aged(minutes: u64, consistency: Consistency) -> RecoveryPoint {
        RecoveryPoint {
            id: format!("p{minutes}").as_str().into(),
            time: Timestamp(NOW.0 - minutes * MINUTE),
            consistency,
            processed: true,
            multi_vm: None,
            change_id: "c".into(),
            transferred: contract::Bytes(0),
            volumes: Vec::new(),
        }
    }

    fn every_five_minutes(hours: u64) -> Vec<RecoveryPoint> {
        (0..=hours * 12).rev().map(|five| aged(five * 5, Consistency::Crash)).collect()
    }

    fn ages_kept(points: &[RecoveryPoint], policy: &Policy) -> Vec<u64> {
        let gone = surplus(points, policy, NOW);
        let kept = points.iter().enumerate().filter(|(index, _)| !gone.contains(index));
        kept.map(|(_, point)| (NOW.0 - point.time.0) / MINUTE).collect()
    }

    #[test]
    fn all_points_stay_two_hours_then_one_an_hour_then_one_in_two_hours() {
        let kept = ages_kept(&every_five_minutes(100), &policy());
        let young = kept.iter().filter(|age| **age <= 120).count();
        let day = kept.iter().filter(|age| (121..=24 * 60).contains(*age)).count();
        let older = kept.iter().filter(|age| **age > 24 * 60).count();
        assert_eq!((young, day, older), (25, 22, 24));
        assert!(kept.iter().all(|age| *age <= 72 * 60));
    }

    #[test]
    fn an_application_consistent_point_is_not_thinned_out_for_a_crash_consistent_one() {
        let mut points = every_five_minutes(30);
        points[4] = aged(30 * 60 - 20, Consistency::App);
        let gone = surplus(&points, &policy(), NOW);
        assert!(!gone.contains(&4));
        assert!(gone.contains(&3) || gone.contains(&5));
    }

    #[test]
    fn the_newest_point_stays_however_old_it_is() {
        let points = [aged(80 * 60, Consistency::Crash), aged(75 * 60, Consistency::Crash)];
        assert_eq!(surplus(&points, &policy(), NOW), [0]);
        assert!(surplus(&[], &policy(), NOW).is_empty());
    }

    #[test]
    fn a_limited_number_is_reached_from_twice_as_many() {
        let limited = Policy { most_points: Some(3), ..policy() };
        assert!(surplus(&every_five_minutes(1)[..5], &limited, NOW).is_empty());
        assert_eq!(surplus(&every_five_minutes(1)[..6], &limited, NOW), [0, 1, 2]);
    }

    #[test]
    fn a_point_is_offered_until_the_last_moment_of_its_time() {
        let mut replica = Replica::new(contract::Side::Recovery, 1, Vec::new());
        replica.points = vec![aged(72 * 60, Consistency::Crash), aged(0, Consistency::Crash)];
        assert_eq!(offered(&replica, &policy(), NOW).count(), 2);
        assert_eq!(offered(&replica, &policy(), Timestamp(NOW.0 + 1)).count(), 1);
    }
}
