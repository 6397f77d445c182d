//! Merging points away. A point lies in deltas over the points before it, so what goes is merged downwards: the next
//! point that stays takes the place of the oldest one that goes.

use contract::{CoreError, PointId};
use serde::{Deserialize, Serialize};

use crate::core::Inner;
use crate::item::{Item, Replica, Volumes};
use crate::points::surplus;

/// How many points at least go at once because of their age, so that the price of a merge is paid once for many.
const BATCH: usize = 8;

/// A merge that has begun; until it is done, the volumes above may be there or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thinning {
    /// The point that stays.
    keep: PointId,
    /// The volumes it moves into, those of the oldest point that goes.
    into: Volumes,
}

/// Merges away what the policy does not keep, once enough has gathered.
pub(crate) async fn thin_out(core: &Inner, item: &Item) -> Result<(), CoreError> {
    finish(core, item).await?;
    let mut worth_it = BATCH;
    while let Some((first, last)) = next_run(core, item, worth_it).await? {
        core.update(item, |record| {
            if let Some(replica) = &mut record.replica {
                take_off(replica, first, last);
            }
        })
        .await?;
        finish(core, item).await?;
        worth_it = 1;
    }
    Ok(())
}

/// The oldest run of points that go, if `worth_it` or more go in all, or the policy's number is exceeded.
async fn next_run(core: &Inner, item: &Item, worth_it: usize) -> Result<Option<(usize, usize)>, CoreError> {
    let record = item.record.lock().await;
    let Some(replica) = &record.replica else { return Ok(None) };
    // A test failover stands on one of the points, and a job may have been told to use one. One that wants the newest may wait long
    // for its source's shutdown, and deltas must not pile up meanwhile until no hypervisor opens them.
    let held = record.pending.as_ref().is_some_and(|pending| !pending.order.wants_the_newest());
    if record.test_failover.is_some() || held {
        return Ok(None);
    }
    let policy = core.policies().in_force(&record)?.policy;
    let gone = surplus(&replica.points, &policy, core.now());
    let crowded = policy.most_points.is_some_and(|most| replica.points.len() >= 2 * most as usize);
    Ok(first_run(&gone).filter(|_| crowded || gone.len() >= worth_it))
}

/// First and last of the indices that follow one another from the first on.
fn first_run(gone: &[usize]) -> Option<(usize, usize)> {
    let first = *gone.first()?;
    let length = gone.iter().enumerate().take_while(|(at, index)| **index == first + at).count();
    Some((first, first + length - 1))
}

/// Takes a run of points off the list first, so that none is offered that is half merged.
fn take_off(replica: &mut Replica, first: usize, last: usize) {
    let Some(keep) = replica.points.get(last + 1).map(|point| point.id.clone()) else { return };
    let into = replica.points[first].volumes.clone();
    replica.points.drain(first..=last);
    replica.thinning = Some(Thinning { keep, into });
}

/// Merges what has begun to be merged; it may be done again.
pub(crate) async fn finish(core: &Inner, item: &Item) -> Result<(), CoreError> {
    let (platform, thinning, top) = {
        let record = item.record.lock().await;
        let Some(replica) = &record.replica else { return Ok(()) };
        let Some(thinning) = replica.thinning.clone() else { return Ok(()) };
        let Some(kept) = replica.point(&thinning.keep) else { return Ok(()) };
        (core.platform(&record.on(replica.side).0)?, thinning.clone(), kept.volumes.clone())
    };
    for ((_, top), (_, into)) in top.iter().zip(&thinning.into) {
        platform.merge_volumes(top, into).await?;
    }
    core.update(item, |record| {
        let Some(replica) = &mut record.replica else { return };
        replica.thinning = None;
        if let Some(point) = replica.points.iter_mut().find(|point| point.id == thinning.keep) {
            point.volumes = thinning.into;
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_gap() {
        assert_eq!(first_run(&[]), None);
        assert_eq!(first_run(&[3]), Some((3, 3)));
        assert_eq!(first_run(&[0, 1, 2, 5, 6]), Some((0, 2)));
    }
}
