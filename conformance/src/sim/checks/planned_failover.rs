//! Planned failover out of Hyper-V: everything or nothing (PF).

use contract::{
    Direction, ErrorCode, FailoverKind, FailoverRequest, ItemId, JobId, JobState, Phase, Platform,
    PointChoice, Side,
};
use simulator::{End, SimFault, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::side_effects::whole;
use crate::sim::testbed::{BOOT, Setup, Testbed, broken, request};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a planned failover shuts down, takes the last data along, and loses nothing",
        rules: &[FO_04, LC_10, PF_01, PF_02, PF_03, PF_05, PF_06, PF_07],
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(loses_nothing(lab, rules)),
    },
    Check {
        name: "a planned failover does not run if its source does not shut down",
        rules: &[JO_03, PF_04],
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(source_stays(lab, rules)),
    },
    Check {
        name: "a planned failover does not run if the last data does not come through",
        rules: &[JO_03, PF_04],
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(link_lost(lab, rules)),
    },
];

fn planned(item: &ItemId, point: PointChoice) -> FailoverRequest {
    let kind = FailoverKind::Planned;
    FailoverRequest { kind, ..request(item, Direction::PrimaryToRecovery, point) }
}

async fn loses_nothing(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    let newest = lab.processed(&item).await?.last().ok_or("there is no point")?.clone();
    for point in [PointChoice::Custom(newest.id.clone()), PointChoice::LatestProcessed] {
        let (asked, codes) = (format!("planned to {point:?}"), [ErrorCode::BadRequest]);
        lab.forbids(rules, (PF_05, &asked), &codes, lab.core.failover(&planned(&item, point))).await?;
    }
    lab.completed(lab.core.failover(&planned(&item, PointChoice::Latest)).await).await?;
    lab.live(BOOT).await;
    let (source, target) = lab.boots("web")?;
    let ended = source.ended();
    let (off, how) = ended.ok_or("the source still runs")?;
    let in_order = how == End::ShutDown && off <= target.started;
    rules.check(
        PF_01,
        in_order,
        format!("the source ended {ended:?}, the target began {:?}", target.started),
    );
    rules.check(LC_10, in_order, "at no moment did both run");
    let away = target.up.as_ref().ok().map(|up| up.since(off));
    rules.check(PF_07, away.is_some(), format!("the service was away for {}", away.unwrap_or_default()));
    let view = lab.item(&item).await?;
    let chosen = view.points.iter().find(|point| Some(&point.id) == view.failed_over_to.as_ref());
    let fresh = chosen.is_some_and(|point| point.time >= off && point.id != newest.id);
    rules.check(PF_02, fresh, "the point was taken after the shutdown");
    let lost = source.acks().last().map(|ack| ack.number);
    let found = target.found.as_ref().map(|found| found.contiguous);
    let none = whole(&source, &target)? && lost == found;
    rules.check(PF_03, none, format!("the source's last record was {lost:?}, the target found {found:?}"));
    lab.commit(&item).await?;
    let points = lab.item(&item).await?.points.len();
    rules.check(PF_06, points == 0, format!("{points} points after commit"));
    rules.check(FO_04, points == 0, format!("{points} points after the commit of a planned failover"));
    Ok(())
}

async fn source_stays(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.primary.inject(&SimFault::ShutdownRefused("web".into()));
    let job = lab.core.failover(&planned(&item, PointChoice::Latest)).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    let code = view.error.as_ref().map(|error| error.code);
    let failed = view.state == JobState::Failed && code == Some(ErrorCode::ShutdownFailed);
    rules.check(PF_04, failed, format!("the job ended {:?}: {code:?}", view.state));
    let source = lab.primary.last_boot(&"web".into()).ok_or("the source never booted")?;
    rules.check(PF_04, source.ended().is_none(), "the source serves on");
    retried(lab, rules, &item, job).await
}

async fn link_lost(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.quiet().await?;
    lab.primary.inject(&SimFault::LinkCut);
    let job = lab.core.failover(&planned(&item, PointChoice::Latest)).await.map_err(said)?;
    let view = lab.ended(Ok(job.clone())).await?;
    rules.check(PF_04, view.state == JobState::Failed, format!("the job ended {:?}", view.state));
    retried(lab, rules, &item, job).await
}

/// It did not run; once the reason is cured, the same job does.
async fn retried(lab: &Testbed, rules: &mut RuleLog, item: &ItemId, job: JobId) -> Result<(), String> {
    let there = lab.recovery.machines().await.map_err(broken)?.len();
    let at = lab.item(item).await?.protection;
    let untouched = there == 0 && at.phase == Phase::Protected && at.active == Side::Primary;
    rules.check(PF_04, untouched, format!("{at:?}, {there} machines at the recovery site"));
    lab.primary.heal();
    let retried = lab.core.retry_job(&job).await;
    rules.check(JO_03, retried.is_ok(), format!("tried again: {retried:?}"));
    retried.map_err(said)?;
    let view = lab.completed(Ok(job)).await?;
    rules.check(JO_03, view.attempt == 2, format!("the same job, attempt {}", view.attempt));
    let (source, target) = lab.boots("web")?;
    rules.check(PF_04, whole(&source, &target)?, "the retry takes everything along");
    Ok(())
}
