//! Planned failover of Hyper-V machines: it loses nothing, or does not happen (PF).

use contract::{ErrorCode, FailoverRequest, ItemId, Phase, Platform, PointChoice, Side};
use simulator::testbed::{BOOT, Boots, OUT};
use simulator::{End, SimFault, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::attempt::Attempt;
use crate::sim::check::{Check, check, check_that, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a planned failover shuts the source down, transfers its last data, and loses nothing",
        &[FO_04, LC_10, PF_01, PF_02, PF_03, PF_05, PF_06, PF_07],
        || Setup::of(SimProfile::HYPERV),
        loses_nothing
    ),
    check!(
        "a planned failover does not happen if its source does not shut down",
        &[JO_03, PF_04],
        || Setup::of(SimProfile::HYPERV),
        source_stays
    ),
    check!(
        "a planned failover does not happen if the last data cannot be transferred",
        &[JO_03, PF_04],
        || Setup::of(SimProfile::HYPERV),
        link_lost
    ),
];

/// A planned failover shuts its source down even if the request does not say so (PF-01).
fn planned(item: &ItemId, point: PointChoice) -> FailoverRequest {
    FailoverRequest { point, shut_down_source: false, ..FailoverRequest::planned(item, OUT) }
}

async fn loses_nothing(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let newest = testbed.newest_point(&item).await?;
    for point in [PointChoice::Custom(newest.id.clone()), PointChoice::LatestProcessed] {
        let what = format!("a planned failover to {point:?}");
        let request = planned(&item, point);
        let codes = [ErrorCode::BadRequest];
        forbids(testbed, rules, (PF_05, &what), &codes, testbed.core.failover(&request)).await?;
    }
    let request = planned(&item, PointChoice::Latest);
    testbed.completed(testbed.core.failover(&request).await).await?;
    testbed.advance(BOOT).await;
    let boots = testbed.boots("web")?;
    let Boots { source, target } = &boots;
    let (off, how) = source.ended().ok_or_else(|| EarlyEnd::core(PF_01, "the source still runs"))?;
    let in_order = how == End::ShutDown && boots.never_overlap();
    let found =
        format!("the source ended {how:?} at {off:?}, the target was started at {:?}", target.started);
    rules.check(PF_01, in_order, found.clone());
    rules.check(LC_10, in_order, found);
    let downtime = target.up.as_ref().ok().map(|up| up.since(off));
    let found = format!("the service was down for {}", downtime.unwrap_or_default());
    rules.check(PF_07, downtime.is_some(), found);
    let view = testbed.item(&item).await?;
    let chosen = view.points.iter().find(|point| Some(&point.id) == view.failed_over_to.as_ref());
    let fresh = chosen.is_some_and(|point| point.time >= off && point.id != newest.id);
    let taken = testbed.snapshot_times(&testbed.primary, &"web".into());
    let between = taken.iter().any(|at| (off..=target.started).contains(at));
    let found = format!(
        "the point is shown as taken after the shutdown: {fresh}; the source was transferred between \
         its shutdown and the start of the target: {between}"
    );
    rules.check(PF_02, fresh && between, found);
    let last = source.acks().last().map(|ack| ack.number);
    let found = target.found.as_ref().map(|found| found.contiguous);
    let complete = boots.is_complete() && last == found;
    rules.check(
        PF_03,
        complete,
        format!("the source's last record was {last:?}, the target found {found:?}"),
    );
    testbed.commit(&item).await?;
    let points = testbed.item(&item).await?.points.len();
    let found = format!("{points} points after the commit of a planned failover");
    rules.check(PF_06, points == 0, found.clone());
    rules.check(FO_04, points == 0, found);
    Ok(())
}

async fn source_stays(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.inject(&SimFault::ShutdownRefused("web".into()));
    let attempt =
        Attempt::of(testbed, testbed.core.failover(&planned(&item, PointChoice::Latest)).await).await?;
    let failed = attempt.code() == Some(ErrorCode::ShutdownFailed);
    rules.check(PF_04, failed, format!("the planned failover: {attempt}"));
    let source = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let serves = source.ended().is_none();
    rules.check(PF_04, serves, format!("the source goes on serving: {serves}"));
    succeeds_when_repaired(testbed, rules, &item, attempt).await
}

async fn link_lost(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    testbed.primary.inject(&SimFault::LinkCut);
    let attempt =
        Attempt::of(testbed, testbed.core.failover(&planned(&item, PointChoice::Latest)).await).await?;
    rules.check(PF_04, attempt.failed(), format!("the planned failover: {attempt}"));
    succeeds_when_repaired(testbed, rules, &item, attempt).await
}

/// The failed failover changed nothing, and succeeds once the fault is healed.
async fn succeeds_when_repaired(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    attempt: Attempt,
) -> Result<(), EarlyEnd> {
    let machines = testbed.recovery.machines().await?.len();
    let at = testbed.item(item).await?.protection;
    let unchanged = machines == 0 && at.phase == Phase::Protected && at.active == Side::Primary;
    rules.check(PF_04, unchanged, format!("{at:?}, {machines} machines at the recovery site"));
    testbed.primary.heal();
    let request = planned(item, PointChoice::Latest);
    attempt.repeat(testbed, rules, testbed.core.failover(&request)).await?;
    check_that(rules, PF_04, testbed.boots("web")?.is_complete(), "the second attempt loses nothing");
    Ok(())
}
