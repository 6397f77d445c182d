//! The edge `failover`: the source site is lost while its guest writes, and the machine comes up on
//! the other site.

use std::time::Instant;

use camino::Utf8PathBuf;
use contract::{
    Direction, ErrorCode, FailoverKind, FailoverRequest, GuestOs, Operation, Phase, Platform, PointChoice,
    PowerState, RecoveryPoint, ReprotectRequest, Side, VolumeId,
};
use tracing::Instrument as _;

use crate::blame::{KeptByCore, ScenarioError};
use crate::real::context::ScenarioContext;
use crate::real::edge::every_point::judge_every_point;
use crate::real::edge::hydration_diff::hydrated;
use crate::real::edge::lifecycle::{Edge, JudgedRecovery};
use crate::real::edge::measure::Outage;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::{self, Recovered, RecoveryTarget};
use crate::real::edge::recovery_point::check_points_kept;
use crate::real::edge::restart::restart;
use crate::real::edge::work::{AtWork, check_work};
use crate::real::machine::Running;
use crate::real::refusals::Forbidden;
use crate::real::workload::INTERVAL;
use crate::refusal::{NOT_HERE, NOT_HERE_OR_NO_POINT, UNPROTECTED, WRONG_WAY_OR_INCOMPLETE};
use crate::rules::ids::*;

/// The edge's name.
pub(crate) const FAILOVER: EdgeName = EdgeName::new("failover", 6);

/// Loses the site of a machine, fails the machine over, and commits.
pub(crate) struct Failover<'a> {
    /// The machine that is lost with its site.
    pub(crate) source: &'a Running,
}

impl Failover<'_> {
    /// Returns the machine on the recovery site, committed and at work.
    ///
    /// # Errors
    /// The edge did not pass.
    pub(crate) async fn run(self, context: &ScenarioContext) -> Result<Running, ScenarioError> {
        check_refusals_while_protected(context).await?;
        let edge = Edge::begin(context, FAILOVER, self.source);
        self.run_edge(edge).instrument(edge.span()).await
    }

    async fn run_edge(self, edge: Edge<'_>) -> Result<Running, ScenarioError> {
        let context = edge.context();
        let failed_over = lose_site_and_fail_over(edge, PointChoice::Latest).await?;
        let RecoveredAfterLoss { point, judged } = failed_over;
        check_state(context, &judged.recovered).await?;
        let recovered = edge.finish(judged)?;
        let running = recover::put_to_work(context, &recovered).await?;
        let running = restart(context, "before the commit", running).await?;
        commit(edge, &running, &point).await?;
        restart(context, "after the commit", running).await
    }
}

/// A machine that came up after its site was lost, with the verdict on its disks.
pub(crate) struct RecoveredAfterLoss {
    /// The recovery point that it was failed over to.
    pub(crate) point: RecoveryPoint,
    pub(crate) judged: JudgedRecovery,
}

/// Loses the source's site while its guest writes, fails over, and judges what comes up. The caller
/// finishes the edge.
pub(crate) async fn lose_site_and_fail_over(
    edge: Edge<'_>,
    choice: PointChoice,
) -> Result<RecoveredAfterLoss, ScenarioError> {
    let context = edge.context();
    edge.wait_for_work().await?;
    edge.wait_for_fresh_points().await?;
    let target = RecoveryTarget::next_boot_of(&context.machine, &context.recovery).await;
    let before = context.core.item(&context.item).await?;
    context.note_points(&before);
    let source_stopped = context.lose_primary().await?;
    context.trace(format!("{}: the source site is lost", edge.name()));
    let triggered = Instant::now();
    let at_trigger = context.core.item(&context.item).await?;
    let request = FailoverRequest {
        point: choice.clone(),
        ..FailoverRequest::unplanned(&context.item, Direction::PrimaryToRecovery)
    };
    let recovered = request_and_recover(edge, &request, &target).await;
    check_without_source_site(context, source_stopped, &recovered);
    let recovered = recovered?;
    let point = check_points_kept(context, edge.name().as_str(), &before).await?;
    let outage = Outage { source_stopped, triggered, after_wait: false };
    let mut judged = edge.judge_recovery_from(&point, recovered, outage).await?;
    edge.check_choice(&choice, &at_trigger, &point, outage, &mut judged);
    judge_every_point(edge, &context.core.item(&context.item).await?).await?;
    Ok(RecoveredAfterLoss { point, judged })
}

async fn request_and_recover(
    edge: Edge<'_>,
    request: &FailoverRequest,
    target: &RecoveryTarget,
) -> Result<Recovered, ScenarioError> {
    let job = edge.context().core.failover(request).await?;
    edge.recover(target, &job).await
}

/// FO-09: the service of the recovered machine answered while its source site was still lost.
fn check_without_source_site(
    context: &ScenarioContext,
    source_stopped: Instant,
    recovered: &Result<Recovered, ScenarioError>,
) {
    match recovered {
        Ok(recovered) => {
            let answered = recovered.times.answered;
            let lost_for = answered.saturating_duration_since(source_stopped);
            let still_lost = context.primary.is_lost();
            let found = format!(
                "the recovered machine answered {lost_for:.1?} after its source site was lost; the site is \
                 still lost: {still_lost}"
            );
            context.check(FO_09, answered > source_stopped && still_lost, found);
        }
        Err(ScenarioError::CoreViolation(why)) => {
            context.check(FO_09, false, format!("the source site is lost: {why}"));
        }
        Err(ScenarioError::Inconclusive(_) | ScenarioError::Lacking(_)) => {}
    }
}

/// LC-02, LC-08, FO-21: requests that do not fit a protected machine are refused.
async fn check_refusals_while_protected(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let back = FailoverRequest::unplanned(&context.item, Direction::RecoveryToPrimary);
    let forbidden = Forbidden {
        rule: LC_08,
        what: "failover the wrong way",
        needs: Some(Operation::UnplannedFailover),
        codes: &[ErrorCode::WrongDirection],
    };
    context.forbids(forbidden, context.core.failover(&back)).await?;
    let forbidden = Forbidden {
        rule: LC_02,
        what: "commit without failover",
        needs: Some(Operation::Commit),
        codes: NOT_HERE,
    };
    context.forbids(forbidden, context.core.commit(&context.item)).await?;
    let planned = FailoverRequest {
        kind: FailoverKind::Planned,
        ..FailoverRequest::unplanned(&context.item, Direction::PrimaryToRecovery)
    };
    let forbidden = Forbidden {
        rule: FO_21,
        what: "planned failover of such a machine",
        needs: Some(Operation::PlannedFailover),
        codes: NOT_HERE,
    };
    context.forbids(forbidden, context.core.failover(&planned)).await
}

/// LC-04, LC-07, LC-08 and the rules on when hydration is due: the target is the active side, the
/// recovery point can still be changed, and the job shows its direction and the extra step.
async fn check_state(context: &ScenarioContext, recovered: &Recovered) -> Result<(), ScenarioError> {
    let protection = context.core.item(&context.item).await?.protection;
    let pending = protection.phase == Phase::CommitPending;
    context.check(LC_07, pending, format!("after phase 1: {:?}", protection.phase));
    let target = context.recovery.machine(&context.machine).await.kept_by_core("the target machine")?.power;
    let active = protection.active == Side::Recovery && target == PowerState::On;
    context.check(LC_04, active, format!("active side {:?}, target {target:?}", protection.active));
    let direction = recovered.job.direction;
    context.check(LC_08, direction == Direction::PrimaryToRecovery, format!("the job says {direction:?}"));
    let hydrated = hydrated(&recovered.job);
    match context.primary.profile().kind.profile().hydration {
        contract::Hydration::IfUnprepared => {
            // Of Windows machines only those that lack something are in this edge.
            let is_windows = context.guest().is_some_and(|guest| guest.os == GuestOs::Windows);
            let rule = if is_windows { HY_06 } else { HY_03 };
            context.check(rule, hydrated, "a VMware machine: the extra step, timed in the job");
            context.check(HY_09, hydrated, "the extra step's time is in the job");
        }
        contract::Hydration::Always => {
            context.check(HY_02, hydrated, "a physical machine: the extra step, timed in the job");
            context.check(HY_09, hydrated, "the extra step's time is in the job");
        }
        // No rule says when such a machine has the step; that the target starts is HY-08.
        contract::Hydration::ForOtherHardware => {}
        contract::Hydration::Never => {
            context.check(HY_07, !hydrated, format!("hydrated although not due: {hydrated}"));
        }
    }
    context.trace_state().await
}

/// Commits a failover: FO-03, FO-04 and what is not possible afterwards. `point` is the recovery
/// point that the machine was failed over to.
pub(crate) async fn commit(
    edge: Edge<'_>,
    running: &Running,
    point: &RecoveryPoint,
) -> Result<(), ScenarioError> {
    let context = edge.context();
    let label = edge.name().as_str();
    let files_of_points = files_of_points(context, point).await?;
    let at_work = AtWork::watch(running);
    let job = context.core.commit(&context.item).await?;
    context.follow(label, &job).await?;
    context.trace_state().await?;
    check_no_points(context, files_of_points).await?;
    let work = at_work.so_far().await;
    check_work(context, FO_04, &work, true, "the machine that runs, after its commit");
    recover::wait_for_work(context, label, running).await?;
    let change = PointChoice::Custom(point.id.clone());
    let forbidden = Forbidden {
        rule: FO_03,
        what: "change of point after the commit",
        needs: Some(Operation::ChangePoint),
        codes: NOT_HERE_OR_NO_POINT,
    };
    context.forbids(forbidden, context.core.change_point(&context.item, &change)).await?;
    check_unprotected(context).await
}

/// The files of all recovery points, of which `chosen` is one.
async fn files_of_points(
    context: &ScenarioContext,
    chosen: &RecoveryPoint,
) -> Result<Vec<Utf8PathBuf>, ScenarioError> {
    let shown = context.core.item(&context.item).await?.points;
    let of_point = |id: &VolumeId| {
        shown.iter().chain([chosen]).flat_map(|point| &point.volumes).any(|(_, volume)| volume == id)
    };
    let files = context.recovery.volume_files().await.into_iter();
    Ok(files.filter(|(id, _, _)| of_point(id)).map(|(_, path, _)| path).collect())
}

/// FO-04: after a commit there are no points, and none of their files but those that the machine's
/// disks now stand on.
async fn check_no_points(
    context: &ScenarioContext,
    files_of_points: Vec<Utf8PathBuf>,
) -> Result<(), ScenarioError> {
    let points = context.core.item(&context.item).await?.points.len();
    let machine = context.recovery.machine(&context.machine).await;
    let mut in_use = Vec::new();
    for disk in machine.kept_by_core("the machine that was failed over")?.disks {
        in_use.extend(context.recovery.files_of(&disk.volume).await.into_iter().map(|(path, _)| path));
    }
    let all = files_of_points.len();
    let left: Vec<_> =
        files_of_points.into_iter().filter(|path| path.exists() && !in_use.contains(path)).collect();
    let found = format!("{points} points left; of their {all} files these are left: {left:?}");
    context.check(FO_04, points == 0 && left.is_empty(), found);
    Ok(())
}

/// LC-05, LC-08, LC-14: nothing replicates, and no failback is possible, until the user reprotects.
async fn check_unprotected(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let transfers = context.recovery.snapshots_taken(&context.machine).await;
    let item = context.core.item(&context.item).await?;
    let idle = transfers == 0 && item.points.is_empty() && item.protection.phase == Phase::Committed;
    let found = format!("{transfers} transfers since the failover, at an interval of {INTERVAL}");
    context.check(LC_05, idle, found);
    let back = FailoverRequest::unplanned(&context.item, Direction::RecoveryToPrimary);
    let forbidden = Forbidden {
        rule: LC_14,
        what: "failback unprotected",
        needs: Some(Operation::UnplannedFailover),
        codes: UNPROTECTED,
    };
    context.forbids(forbidden, context.core.failover(&back)).await?;
    if context.primary.profile().kind.profile().hosts_replicate {
        // Hyper-V machines fail back by a planned failover, without a reprotection (HF-01).
        return Ok(());
    }
    let wrong_way = ReprotectRequest::new(&context.item, Direction::PrimaryToRecovery);
    let forbidden = Forbidden {
        rule: LC_08,
        what: "reprotect the wrong way",
        needs: Some(Operation::Reprotect),
        codes: WRONG_WAY_OR_INCOMPLETE,
    };
    context.forbids(forbidden, context.core.reprotect(&wrong_way)).await
}
