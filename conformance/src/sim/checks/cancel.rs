//! A failover that is cancelled in any of its steps: replication does not resume by itself (FO-12,
//! FO-13).

use contract::{
    ErrorCode, Health, ItemId, JobAction, JobState, Millis, Operation, Phase, Platform, PointChoice, Side,
};
use simulator::testbed::{INTERVAL, enable_request, failover_to, failover_with_shutdown};
use simulator::{Link, SimFault};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::{forbids, refused};
use crate::sim::testbed::{Setup, Testbed};

const RULES: &[RuleId] = &[FO_12, FO_13, JO_04];

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a failover that is cancelled at once stops, and replication stops with it",
        RULES,
        Setup::vmware,
        cancelled(Moment::AtOnce)
    ),
    check!(
        "a failover that is cancelled while its source shuts down stops, and replication stops with it",
        RULES,
        Setup::vmware,
        cancelled(Moment::ShuttingDown)
    ),
    check!(
        "a failover that is cancelled during its last transfer stops, and replication stops with it",
        RULES,
        Setup::vmware,
        cancelled(Moment::LastTransfer)
    ),
];

/// When the failover is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AtOnce,
    ShuttingDown,
    LastTransfer,
}

async fn cancelled(testbed: &Testbed, rules: &mut RuleLog, moment: Moment) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    if moment == Moment::ShuttingDown {
        testbed.primary.inject(&SimFault::ShutdownRefused("web".into()));
    }
    testbed.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let job = testbed.core.failover(&failover_with_shutdown(&item)).await?;
    let wait = match moment {
        Moment::AtOnce => Millis(0),
        // A shutdown takes two seconds; the transfer that follows takes more than a minute.
        Moment::ShuttingDown | Moment::LastTransfer => Millis(30_000),
    };
    testbed.advance(wait).await;
    let offered = testbed.core.job(&job).await?.actions;
    testbed.core.cancel_failover(&item).await?;
    let found = format!("{moment:?}: the job offers {offered:?}");
    rules.check(JO_04, offered.contains(&JobAction::Cancel), found);
    let view = testbed.ended(&job).await?;
    testbed.primary.set_link(Link::default());
    let found = format!("{moment:?}: the job ended {:?}", view.state);
    rules.check(FO_12, view.state == JobState::Cancelled, found);
    testbed.primary.heal();
    stays_stopped(testbed, rules, &item, moment).await?;
    let retry = refused(testbed, "a retry", testbed.core.retry_job(&job)).await?;
    rules.check(FO_12, retry.is_some(), format!("a retry of the cancelled job: {retry:?}"));
    can_be_protected_again(testbed, rules, &item).await
}

async fn stays_stopped(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    moment: Moment,
) -> Result<(), EarlyEnd> {
    let before = testbed.snapshots_taken("web");
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    let snapshots = testbed.snapshots_taken("web") - before;
    let view = testbed.item(item).await?;
    let at = view.protection;
    let stopped = at.phase == Phase::Stopped && at.active == Side::Primary && snapshots == 0;
    rules.check(FO_12, stopped, format!("{moment:?}: {at:?}, {snapshots} snapshots in five intervals"));
    let failovers = [Operation::UnplannedFailover, Operation::PlannedFailover, Operation::TestFailover];
    let offered: Vec<_> = failovers.iter().filter(|operation| view.allowed.contains(operation)).collect();
    let found = format!("{moment:?}: {:?}, offered {offered:?}", view.health);
    rules.check(FO_13, view.health != Health::Healthy && offered.is_empty(), found);
    let request = failover_to(item, PointChoice::LatestProcessed);
    let what = (FO_12, "another failover");
    forbids(testbed, rules, what, &[ErrorCode::NotAllowedInState], testbed.core.failover(&request)).await?;
    let machines = testbed.recovery.machines().await?.len();
    rules.check(FO_12, machines == 0, format!("{moment:?}: {machines} machines at the recovery site"));
    let source = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let serves = source.ended().is_none();
    rules.check(JO_04, serves, format!("the source goes on serving: {serves}"));
    Ok(())
}

/// Once its protection was disabled and enabled again, the machine fails over.
async fn can_be_protected_again(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
) -> Result<(), EarlyEnd> {
    testbed.completed(testbed.core.disable_protection(item).await).await?;
    testbed.completed(testbed.core.enable_protection(&enable_request("web")).await).await?;
    let view = testbed.wait_for_points(item, 2).await?;
    let offered = view.allowed.contains(&Operation::UnplannedFailover);
    let found = format!("protected again: {:?}, a failover is offered: {offered}", view.health);
    rules.check(FO_13, view.health == Health::Healthy && offered, found);
    testbed.fail_over(item, PointChoice::Latest).await?;
    let writes = testbed.recovered("web")?.writes;
    rules.check(FO_12, writes > 0, format!("protected again, it fails over with {writes} writes"));
    Ok(())
}
