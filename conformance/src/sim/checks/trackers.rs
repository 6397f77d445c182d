//! Sources whose change tracking fails in part (FX-12), and sites whose clocks differ (FX-13).

use contract::{Millis, PointChoice, Timestamp};
use simulator::SimFault;
use simulator::testbed::{BOOT, INTERVAL, TestbedError, failover_to};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check, succeeds};
use crate::sim::checks::variety::{check_exact, with_any_writes, with_few_writes};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "points are whole when the source names the changes of one disk, fails, or has no list of them",
        &[FX_12],
        Setup::vmware,
        tracker_fails_in_part
    ),
    check!(
        "latest is the last transfer, although the source's clock was ahead",
        &[FX_13],
        Setup::vmware,
        clock_was_ahead
    ),
];

/// How long each fault lasts.
const AWHILE: Millis = Millis(3 * INTERVAL.0);
/// By how much the clock is ahead, in milliseconds.
const AHEAD: i64 = 60 * 60 * 1000;

async fn tracker_fails_in_part(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    for fault in [SimFault::FirstDiskTracked, SimFault::TrackerFails, SimFault::NoListOfChanges] {
        testbed.primary.inject(&fault);
        testbed.advance(AWHILE).await;
        testbed.primary.heal();
    }
    let healed = testbed.world.clock().now();
    let mut newest = testbed.newest_point(&item).await?;
    // After a failure a core may pause for longer than its interval.
    for _ in 0..60 {
        if newest.time > healed {
            break;
        }
        testbed.advance(INTERVAL).await;
        newest = testbed.newest_point(&item).await?;
    }
    let (ended, of) = (healed.0, newest.time.0);
    let found = format!("the faults ended at {ended} ms, an hour later the newest point is of {of} ms");
    rules.check(FX_12, newest.time > healed, found);
    testbed.primary.lose();
    let failed_over = testbed.fail_over(&item, PointChoice::Latest).await;
    failed_over.map_err(|end| against(rules, FX_12, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_12, &testbed.boots("web")?)
}

async fn clock_was_ahead(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.set_clock_ahead(AHEAD);
    testbed.advance(AWHILE).await;
    testbed.primary.set_clock_ahead(0);
    testbed.advance(AWHILE).await;
    let disaster = testbed.primary.lose();
    let job = testbed.core.failover(&failover_to(&item, PointChoice::Latest)).await;
    let done = testbed.completed(job).await;
    succeeds(rules, (FX_13, "a failover after the clock was ahead"), done)?;
    testbed.advance(BOOT).await;
    let transferred = Timestamp(disaster.0 - 2 * INTERVAL.0);
    match testbed.boots("web")?.check_freshness(transferred, disaster) {
        Ok(()) => rules.check(FX_13, true, "the latest point has the last writes that were transferred"),
        Err(TestbedError::NotFresh(found)) => rules.check(FX_13, false, found.to_string()),
        Err(TestbedError::NotAPrefix(found)) => rules.check(FX_13, false, found.to_string()),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}
