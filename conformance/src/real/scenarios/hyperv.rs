//! Hyper-V: planned failover, failback by a planned failover in one of its two modes, and reverse
//! replication. Nothing is lost.

use std::time::{Duration, Instant};

use contract::{
    DataSync, Direction, ErrorCode, FailoverKind, FailoverRequest, JobId, JobKind, JobState, JobView, Millis,
    Operation, Phase, Platform, PointChoice, PointId, RecoveryPoint, Side,
};
use standins::SiteFault;
use tracing::Instrument as _;

use crate::blame::{KeptByCore, ScenarioError};
use crate::outcome::Rpo;
use crate::real::context::ScenarioContext;
use crate::real::cycles::Cycles;
use crate::real::edge::every_point::judge_every_point;
use crate::real::edge::failback;
use crate::real::edge::failback::FAILBACK;
use crate::real::edge::failover;
use crate::real::edge::freshness::HostClock;
use crate::real::edge::hydration_diff::hydration_step;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::name::EdgeName;
use crate::real::edge::planned_switchover::PlannedSwitchover;
use crate::real::edge::recover::{self, Recovered, RecoveryTarget};
use crate::real::edge::recovery_point::check_points_kept;
use crate::real::edge::reprotect::{REVERSE_REPLICATE, Reprotect};
use crate::real::edge::work::{AtWork, check_work};
use crate::real::machine::Running;
use crate::real::refusals::Forbidden;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;
use crate::refusal::NOT_HERE;
use crate::rules::ids::*;

const PLANNED_FAILOVER: EdgeName = EdgeName::new("planned-failover", 8);
/// Records that the cloud guest writes while the job waits: it has to wait for any length of time.
const RECORDS_OF_WAIT: u64 = 25;
/// How long the cloud guest may take to write them.
const SERVE_WITHIN: Duration = Duration::from_secs(60);
/// How long the core waits for a guest that refuses to shut down.
const REFUSED_WITHIN: Millis = Millis(5_000);

pub(crate) const SCRIPT: Script = Script {
    edges: || vec![PLANNED_FAILOVER, FAILBACK, REVERSE_REPLICATE],
    repeatable: true,
    needs: &[Operation::PlannedFailover, Operation::Commit, Operation::ReverseReplicate],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut on_premises = setup::boot_source(context).await?;
    setup::protect(context, &on_premises).await?;
    let mut cycles = Cycles::begin(context)?;
    for _ in 0..context.run.cycles {
        let out = Edge::begin(context, PLANNED_FAILOVER, &on_premises);
        let cloud = fail_over(out).instrument(out.span()).await?;
        let back = Edge::begin(context, FAILBACK, &cloud);
        let returned = fail_back(back).instrument(back.span()).await?;
        Reprotect { edge: REVERSE_REPLICATE, serving: &returned, standby: &cloud, restarted: None }
            .run(context)
            .await?;
        on_premises = returned;
        cycles.ended(&[context]).await?;
    }
    teardown::end(context, &on_premises).await
}

/// A request for a planned failover. Only a failback has a mode of data synchronisation.
fn request(context: &ScenarioContext, direction: Direction) -> FailoverRequest {
    let data_sync = context.scenario.data_sync.filter(|_| direction == Direction::RecoveryToPrimary);
    FailoverRequest {
        kind: FailoverKind::Planned,
        data_sync,
        ..FailoverRequest::unplanned(&context.item, direction)
    }
}

async fn fail_over(edge: Edge<'_>) -> Result<Running, ScenarioError> {
    let context = edge.context();
    edge.wait_for_work().await?;
    let before = context.core.item(&context.item).await?;
    let older = before.points.first().map_or_else(|| PointId::from("none"), |point| point.id.clone());
    let request = request(context, Direction::PrimaryToRecovery);
    let to_older_point = FailoverRequest { point: PointChoice::Custom(older), ..request.clone() };
    let forbidden = Forbidden {
        rule: PF_05,
        what: "planned to an older point",
        needs: Some(Operation::PlannedFailover),
        codes: &[ErrorCode::BadRequest],
    };
    context.forbids(forbidden, context.core.failover(&to_older_point)).await?;
    check_refused_shutdown(edge, &request).await?;
    let target = RecoveryTarget::next_boot_of(&context.machine, &context.recovery).await;
    let recovered = PlannedSwitchover { edge, target, shutdown_rule: PF_01 }.run(&request).await?;
    let point = check_points_kept(context, edge.name().as_str(), &before).await?;
    check_failed_over(edge, &recovered, &point).await?;
    judge_every_point(edge, &context.core.item(&context.item).await?).await?;
    let running = recover::put_to_work(context, &recovered).await?;
    check_no_failback_before_commit(context).await?;
    failover::commit(edge, &running, &point).await?;
    Ok(running)
}

/// PF-04: a planned failover fails if the source refuses to shut down. The source works on, nothing
/// is left of the attempt, and the failover can be requested again.
async fn check_refused_shutdown(edge: Edge<'_>, request: &FailoverRequest) -> Result<(), ScenarioError> {
    let context = edge.context();
    let step = context.evidence.step(PLANNED_FAILOVER.as_str(), "refuse to shut down");
    context.inject(&context.primary, &SiteFault::ShutdownRefused(context.machine.clone())).await?;
    let at_work = AtWork::watch(edge.source());
    let request = FailoverRequest { shutdown_within: REFUSED_WITHIN, ..request.clone() };
    let job = context.core.failover(&request).await?;
    let ended = context.ended_job(PLANNED_FAILOVER.as_str(), &job).await?;
    let code = ended.error.as_ref().map(|error| error.code);
    let machines = context.recovery.machines().await?.len();
    let item = context.core.item(&context.item).await?.protection;
    let unchanged = item.phase == Phase::Protected && item.active == Side::Primary && machines == 0;
    let failed = ended.state == JobState::Failed && code == Some(ErrorCode::ShutdownFailed);
    let work = at_work.so_far().await;
    let found = format!("{:?} with {code:?}, {machines} target machines, {item:?}", ended.state);
    check_work(context, PF_04, &work, failed && unchanged, &found);
    context.heal(&context.primary).await?;
    step.done();
    Ok(())
}

/// PF-02, PF-03, HY-07, LC-07: the recovery point was made after the source was off and holds what
/// the source wrote until then, nothing was lost, the machine was not hydrated, and the commit is
/// pending.
async fn check_failed_over(
    edge: Edge<'_>,
    recovered: &Recovered,
    point: &RecoveryPoint,
) -> Result<(), ScenarioError> {
    let context = edge.context();
    let clock = HostClock::read();
    let off_at = edge.source().boot.guest.gone_at().map(|moment| clock.time_of(moment));
    // The suite learns of the end a moment after the site does.
    let after = off_at.is_some_and(|off_at| point.time.0 + Rpo::TOLERANCE.0 >= off_at.0);
    // The edge has been judged: one that lost anything would have ended the scenario.
    let judged = context.findings().edges.last().map(|edge| (edge.rpo.records, edge.evidence.complete));
    let (lost, complete) = judged.unzip();
    let found = format!(
        "the point is of {}, the source ended at {off_at:?}; the target has its last writes: {complete:?}",
        point.time.0
    );
    context.check(PF_02, after && complete == Some(true), found);
    context.check(PF_03, lost == Some(0), format!("{lost:?} records lost"));
    let hydrated = hydration_step(&recovered.job).is_some();
    context.check(HY_07, !hydrated, format!("an ordinary Hyper-V machine was hydrated: {hydrated}"));
    let protection = context.core.item(&context.item).await?.protection;
    let pending = protection.phase == Phase::CommitPending && protection.active == Side::Recovery;
    context.check(LC_07, pending, format!("after phase 1: {protection:?}"));
    context.trace_state().await
}

/// HF-03: a failback is refused until the failover is committed.
async fn check_no_failback_before_commit(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let back = request(context, Direction::RecoveryToPrimary);
    let forbidden = Forbidden {
        rule: HF_03,
        what: "failback before commit",
        needs: Some(Operation::PlannedFailover),
        codes: NOT_HERE,
    };
    context.forbids(forbidden, context.core.failover(&back)).await
}

async fn fail_back(edge: Edge<'_>) -> Result<Running, ScenarioError> {
    let context = edge.context();
    let cloud = edge.source();
    edge.wait_for_work().await?;
    let unplanned = FailoverRequest::unplanned(&context.item, Direction::RecoveryToPrimary);
    let forbidden = Forbidden {
        rule: HF_04,
        what: "unplanned back",
        needs: Some(Operation::UnplannedFailover),
        codes: NOT_HERE,
    };
    context.forbids(forbidden, context.core.failover(&unplanned)).await?;
    let target = RecoveryTarget::next_boot_of(&context.machine, &context.primary).await;
    let switchover = PlannedSwitchover { edge, target, shutdown_rule: FB_06 };
    let request = request(context, Direction::RecoveryToPrimary);
    let recovered = match context.scenario.data_sync {
        Some(DataSync::BeforeFailover) => {
            switchover.run_beside(&request, complete_when_waiting(context, cloud)).await?
        }
        _ => switchover.run(&request).await?,
    };
    check_failed_back(context, &recovered).await?;
    let running = recover::put_to_work(context, &recovered).await?;
    commit_failback(context).await?;
    Ok(running)
}

/// HF-01, HF-15, HF-17: the failback was a planned failover without a reprotection, its commit is
/// pending, and reverse replication has to wait for that.
async fn check_failed_back(context: &ScenarioContext, recovered: &Recovered) -> Result<(), ScenarioError> {
    let JobView { kind, direction, .. } = recovered.job;
    let planned_back = kind == JobKind::PlannedFailover && direction == Direction::RecoveryToPrimary;
    context.check(HF_01, planned_back, "no reprotection came before");
    let protection = context.core.item(&context.item).await?.protection;
    let pending = protection.phase == Phase::CommitPending && protection.active == Side::Primary;
    context.check(HF_15, pending, format!("after failback: {protection:?}"));
    let forbidden = Forbidden {
        rule: HF_17,
        what: "reverse replication before commit",
        needs: Some(Operation::ReverseReplicate),
        codes: NOT_HERE,
    };
    context.forbids(forbidden, context.core.reverse_replicate(&context.item)).await
}

/// HF-16: the commit of a failback deletes the cloud machine with its disks.
async fn commit_failback(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let cloud = context.recovery.machine(&context.machine).await;
    let cloud = cloud.kept_by_core("the cloud machine until the commit")?;
    let disks: Vec<_> = cloud.disks.into_iter().map(|disk| disk.volume).collect();
    failback::commit(context).await?;
    let left = context.recovery.volume_files().await;
    let left = left.iter().filter(|(id, _, _)| disks.contains(id)).count();
    let found = format!("{left} of the cloud machine's {} disks after commit", disks.len());
    context.check(HF_16, left == 0 && !disks.is_empty(), found);
    Ok(())
}

/// HF-06, HF-08, JO-02: the job waits for any length of time while the cloud machine serves, and
/// only the user's action lets it continue. Returns when the user acted; `None` if the job did not
/// wait.
async fn complete_when_waiting(
    context: &ScenarioContext,
    cloud: &Running,
) -> Result<Option<Instant>, ScenarioError> {
    let at_work = AtWork::watch(cloud);
    let Some(job) = context.core.item(&context.item).await?.job else { return Ok(None) };
    let at_an_end = |state| state != JobState::InProgress;
    let view = context.job_once(FAILBACK.as_str(), &job, at_an_end).await?;
    let found = format!("after phase 1: {:?}", view.state);
    if view.state == JobState::Failed
        && let error @ ScenarioError::Inconclusive(_) = context.blame_of_failed_job(found.clone(), &view)
    {
        context.unknown(HF_08, error.to_string());
        return Err(error);
    }
    context.check(HF_08, view.state == JobState::WaitingForCompletion, found);
    if view.state != JobState::WaitingForCompletion {
        return Ok(None);
    }
    let guest = &cloud.boot.guest;
    let wanted = cloud.last_record() + RECORDS_OF_WAIT;
    let served = guest.race("records while the job waits", SERVE_WITHIN, guest.witness().acked(wanted)).await;
    let still_waits = context.core.job(&job).await?.state == JobState::WaitingForCompletion;
    let work = at_work.until(served);
    check_work(
        context,
        HF_06,
        &work,
        true,
        "the cloud machine, while its data was synchronised and after it",
    );
    context.check(HF_08, still_waits && !guest.is_gone(), "the job waited, the cloud machine ran");
    let resumed = Instant::now();
    context.core.complete_failover(&context.item).await?;
    let continued = continued(context, &job).await?;
    context.check(JO_02, continued, "the user's action let the job continue");
    Ok(Some(resumed))
}

/// Whether a job that waited for the user goes on before long.
async fn continued(context: &ScenarioContext, job: &JobId) -> Result<bool, ScenarioError> {
    let goes_on = context.job_once(FAILBACK.as_str(), job, |state| state != JobState::WaitingForCompletion);
    tokio::time::timeout(SERVE_WITHIN, goes_on).await.map_or(Ok(false), |view| view.map(|_| true))
}
