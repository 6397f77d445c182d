//! A failover that is cancelled, at any of its steps: replication does not come back by itself (FO-12, FO-13).

use contract::{
    Direction, ErrorCode, FailoverRequest, Health, ItemId, JobAction, JobState, Millis, Operation, Phase,
    PointChoice, Side,
};
use simulator::{Link, SimFault};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::testbed::{INTERVAL, Setup, Testbed, broken, enable, request};

const RULES: &[RuleId] = &[FO_12, FO_13, JO_04];

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a failover cancelled as soon as it began stops, and replication with it",
        rules: RULES,
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(cancelled(lab, rules, Moment::AtOnce)),
    },
    Check {
        name: "a failover cancelled while it waits for its source stops, and replication with it",
        rules: RULES,
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(cancelled(lab, rules, Moment::ShuttingDown)),
    },
    Check {
        name: "a failover cancelled during its last transfer stops, and replication with it",
        rules: RULES,
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(cancelled(lab, rules, Moment::LastTransfer)),
    },
];

/// When it is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AtOnce,
    ShuttingDown,
    LastTransfer,
}

async fn cancelled(lab: &Testbed, rules: &mut RuleLog, moment: Moment) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.quiet().await?;
    if moment == Moment::ShuttingDown {
        lab.primary.inject(&SimFault::ShutdownRefused("web".into()));
    }
    let out = FailoverRequest {
        shut_down_source: true,
        ..request(&item, Direction::PrimaryToRecovery, PointChoice::Latest)
    };
    lab.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let job = lab.core.failover(&out).await.map_err(said)?;
    let wait = match moment {
        Moment::AtOnce => Millis(0),
        // A shutdown takes two seconds; the transfer that follows takes a minute and more.
        Moment::ShuttingDown | Moment::LastTransfer => Millis(30_000),
    };
    lab.live(wait).await;
    let offered = lab.core.job(&job).await.map_err(said)?.actions;
    rules.check(JO_04, offered.contains(&JobAction::Cancel), format!("{moment:?}: it offers {offered:?}"));
    lab.core.cancel_failover(&item).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    lab.primary.set_link(Link::default());
    rules.check(FO_12, view.state == JobState::Cancelled, format!("{moment:?}: it ended {:?}", view.state));
    lab.primary.heal();
    stays_stopped(lab, rules, &item, moment).await?;
    let again = lab.refused("a retry", lab.core.retry_job(&job)).await?;
    rules.check(FO_12, again.is_some(), format!("a retry of what was cancelled: {again:?}"));
    fresh(lab, rules, &item).await
}

async fn stays_stopped(
    lab: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    moment: Moment,
) -> Result<(), String> {
    use contract::Platform as _;
    let views = lab.snapshots_taken("web");
    lab.live(Millis(5 * INTERVAL.0)).await;
    let now = lab.snapshots_taken("web");
    let view = lab.item(item).await?;
    let at = view.protection;
    let stopped = at.phase == Phase::Stopped && at.active == Side::Primary && now == views;
    rules.check(FO_12, stopped, format!("{moment:?}: {at:?}, {} views in five intervals", now - views));
    let failovers = [Operation::UnplannedFailover, Operation::PlannedFailover, Operation::TestFailover];
    let offered: Vec<_> = failovers.iter().filter(|operation| view.allowed.contains(operation)).collect();
    let found = format!("{moment:?}: {:?}, offered {offered:?}", view.health);
    rules.check(FO_13, view.health != Health::Healthy && offered.is_empty(), found);
    let out = request(item, Direction::PrimaryToRecovery, PointChoice::LatestProcessed);
    let asked = (FO_12, "another failover");
    lab.forbids(rules, asked, &[ErrorCode::NotAllowedInState], lab.core.failover(&out)).await?;
    let machines = lab.recovery.machines().await.map_err(broken)?.len();
    rules.check(FO_12, machines == 0, format!("{moment:?}: {machines} machines at the recovery site"));
    let source = lab.primary.last_boot(&"web".into()).ok_or("the source never booted")?;
    rules.check(JO_04, source.ended().is_none(), "whoever served goes on serving");
    Ok(())
}

/// Only protection from the beginning helps, and it does.
async fn fresh(lab: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), String> {
    lab.completed(lab.core.disable_protection(item).await).await?;
    lab.completed(lab.core.enable_protection(&enable(&"web".into())).await).await?;
    lab.points(item, 2).await?;
    lab.fail_over(item, PointChoice::Latest).await?;
    let writes = lab.recovered("web")?.0;
    rules.check(FO_12, writes > 0, format!("protected again, it fails over with {writes} writes"));
    Ok(())
}
