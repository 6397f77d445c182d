//! Retention: which recovery points expire, and how they are merged away.
//!
//! A point is a set of delta volumes over the points before it. So an expired point cannot simply
//! be deleted: the oldest point that is kept after a run of expired ones is merged down into the
//! volumes of the oldest expired one.

use std::collections::BTreeSet;

use contract::{Consistency, CoreError, Millis, Policy, RecoveryPoint, Timestamp};

use crate::context::Context;
use crate::fault_hook::{Merging, Periods};
use crate::item::Item;
use crate::state::{PendingMerge, Replica};

const HOUR: u64 = 60 * 60 * 1000;

/// Thinning by age (EX-R4): of the points older than the first time, one is kept for each period of
/// the second length.
const TIERS: [(Millis, Millis); 2] =
    [(Millis(2 * HOUR), Millis(HOUR)), (Millis(24 * HOUR), Millis(2 * HOUR))];

/// Merges expired points away, once enough of them have gathered.
pub(crate) async fn apply(ctx: &Context, item: &Item) -> Result<(), CoreError> {
    finish_merge(ctx, item).await?;
    let mut batch = ctx.merging().batch;
    while let Some((first, last)) = next_run(ctx, item, batch).await? {
        ctx.update(item, |record| {
            if let Some(replica) = &mut record.replica {
                begin_merge(replica, first, last);
            }
        })
        .await?;
        finish_merge(ctx, item).await?;
        batch = 1;
    }
    Ok(())
}

/// The oldest run of expired points, as the indices of its first and last. `None` if fewer than
/// `batch` points have expired and the policy's number of points is not exceeded.
async fn next_run(ctx: &Context, item: &Item, batch: usize) -> Result<Option<(usize, usize)>, CoreError> {
    let record = item.record.lock().await;
    let Some(replica) = &record.replica else { return Ok(None) };
    // A job may have been asked to use one of the points. A failover to the newest one does not
    // block merges, because it may wait long for its source to shut down, and the chain of deltas
    // must not grow meanwhile until no hypervisor can open it.
    if record.active_command.as_ref().is_some_and(|active| !active.command.uses_newest_point()) {
        return Ok(None);
    }
    let policy = ctx.policies.in_force(&record)?.policy;
    let mut expired = expired(&replica.points, &policy, ctx.now(), ctx.merging());
    // A test failover depends on its point and on those below. The newer ones expire as always, or
    // a test failover that stands for long would let them pile up.
    if let Some(test) = &record.test_failover {
        let kept = replica.points.iter().position(|point| point.id == test.point);
        expired.retain(|index| kept.is_some_and(|kept| *index > kept));
    }
    let too_many = policy.most_points.is_some_and(|most| replica.points.len() >= 2 * most as usize);
    Ok(first_run(&expired).filter(|_| too_many || expired.len() >= batch))
}

/// Indices of the points that expire, oldest first: those older than the retention time, those
/// thinned out by age, and the oldest ones once there are twice as many as the policy keeps. The
/// newest point never expires.
fn expired(points: &[RecoveryPoint], policy: &Policy, now: Timestamp, merging: Merging) -> Vec<usize> {
    let Some(newest) = points.len().checked_sub(1) else { return Vec::new() };
    let mut periods = BTreeSet::new();
    // From the newest to the oldest, so that the newest point of each period is kept.
    let mut kept: Vec<usize> = (0..=newest)
        .rev()
        .filter(|index| {
            let point = &points[*index];
            let age = now.since(point.time);
            if *index == newest {
                return true;
            }
            let tier = TIERS.iter().rev().find(|(older, _)| merging.thins && age > *older);
            let period = tier.map(|(_, period)| period.0);
            let kind = (point.consistency == Consistency::App, point.multi_vm.is_some());
            let since = match merging.periods {
                Periods::Fixed => point.time.0,
                Periods::FromNow => age.0,
            };
            age <= policy.retention
                && period.is_none_or(|period| periods.insert((period, since / period, kind)))
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

/// First and last of the leading indices without a gap.
fn first_run(expired: &[usize]) -> Option<(usize, usize)> {
    let first = *expired.first()?;
    let length = expired.iter().enumerate().take_while(|(at, index)| **index == first + at).count();
    Some((first, first + length - 1))
}

/// Removes a run of points from the list and records their merge, so that no half-merged point can
/// be chosen.
fn begin_merge(replica: &mut Replica, first: usize, last: usize) {
    let Some(keep) = replica.points.get(last + 1).map(|point| point.id.clone()) else { return };
    let into = replica.points[first].volumes.clone();
    replica.points.drain(first..=last);
    replica.pending_merge = Some(PendingMerge { keep, into });
}

/// Executes a merge that is recorded, if there is one. It can be repeated.
pub(crate) async fn finish_merge(ctx: &Context, item: &Item) -> Result<(), CoreError> {
    let (platform, merge, top) = {
        let record = item.record.lock().await;
        let Some(replica) = &record.replica else { return Ok(()) };
        let Some(merge) = replica.pending_merge.clone() else { return Ok(()) };
        let Some(kept) = replica.point(&merge.keep) else { return Ok(()) };
        (ctx.platform(&record.on(replica.side).0)?, merge, kept.volumes.clone())
    };
    for ((_, top), (_, into)) in top.iter().zip(&merge.into) {
        platform.merge_volumes(top, into).await?;
    }
    ctx.update(item, |record| {
        let Some(replica) = &mut record.replica else { return };
        replica.pending_merge = None;
        if let Some(point) = replica.points.iter_mut().find(|point| point.id == merge.keep) {
            point.volumes = merge.into;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
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
        let expired = expired(points, policy, NOW, Merging::default());
        let kept = points.iter().enumerate().filter(|(index, _)| !expired.contains(index));
        kept.map(|(_, point)| (NOW.0 - point.time.0) / MINUTE).collect()
    }

    #[test]
    fn a_run_ends_at_the_first_gap() {
        assert_eq!(first_run(&[]), None);
        assert_eq!(first_run(&[3]), Some((3, 3)));
        assert_eq!(first_run(&[0, 1, 2, 5, 6]), Some((0, 2)));
    }

    #[test]
    fn all_points_are_kept_for_two_hours_then_hourly_then_two_hourly() {
        let kept = ages_kept(&every_five_minutes(100), &policy());
        let young = kept.iter().filter(|age| **age <= 120).count();
        let day = kept.iter().filter(|age| (121..=24 * 60).contains(*age)).count();
        let older = kept.iter().filter(|age| **age > 24 * 60).count();
        assert_eq!((young, day, older), (25, 22, 24));
        assert!(kept.iter().all(|age| *age <= 72 * 60));
    }

    #[test]
    fn an_application_consistent_point_does_not_expire_in_favour_of_a_crash_consistent_one() {
        let mut points = every_five_minutes(30);
        points[4] = aged(30 * 60 - 20, Consistency::App);
        let expired = expired(&points, &policy(), NOW, Merging::default());
        assert!(!expired.contains(&4));
        assert!(expired.contains(&3) || expired.contains(&5));
    }

    #[test]
    fn the_newest_point_never_expires() {
        let points = [aged(80 * 60, Consistency::Crash), aged(75 * 60, Consistency::Crash)];
        assert_eq!(expired(&points, &policy(), NOW, Merging::default()), [0]);
        assert!(expired(&[], &policy(), NOW, Merging::default()).is_empty());
    }

    #[test]
    fn points_beyond_the_number_expire_once_there_are_twice_as_many() {
        let limited = Policy { most_points: Some(3), ..policy() };
        assert!(expired(&every_five_minutes(1)[..5], &limited, NOW, Merging::default()).is_empty());
        assert_eq!(expired(&every_five_minutes(1)[..6], &limited, NOW, Merging::default()), [0, 1, 2]);
    }
}
