//! Hyper-V: planned out, planned back in one of two modes, and replication to the cloud again. Nothing is lost.

use std::time::{Duration, Instant};

use contract::{
    DataSync, Direction, ErrorCode, FailoverKind, FailoverRequest, JobId, JobState, JobView, Phase, Platform,
    PointChoice, PointId, RecoveryPoint, Side,
};
use standins::Fault;

use crate::blame::ScenarioError;
use crate::real::context::{JOB_WITHIN, ScenarioContext};
use crate::real::edge;
use crate::real::edge::Recovered;
use crate::real::edge::failback;
use crate::real::edge::failover;
use crate::real::edge::failover::chosen_point;
use crate::real::edge::planned_switchover as switch;
use crate::real::edge::planned_switchover::Switch;
use crate::real::edge::reprotect;
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::teardown as finish;
use crate::rules::ids::*;

const OUT: &str = "planned-failover";
const BACK: &str = "failback";
/// How long the job is left waiting, in records of the cloud guest: it must wait for any length of time.
const RECORDS_OF_WAIT: u64 = 25;
/// How long a guest that refuses may take to shut down.
const REFUSED_WITHIN: contract::Millis = contract::Millis(5_000);
/// How long the cloud guest may take to them.
const SERVE_WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn cycle(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut on_premises = setup::boot_source(world).await?;
    setup::protect(world, &on_premises).await?;
    for _ in 0..world.context.cycles {
        let cloud = planned_out(world, &on_premises).await?;
        on_premises = planned_back(world, &cloud, &on_premises).await?;
        reprotect::reprotect(world, "reverse-replicate", &on_premises, &cloud).await?;
    }
    finish::end(world, &on_premises).await
}

fn request(world: &ScenarioContext, direction: Direction) -> FailoverRequest {
    let data_sync = world.data_sync.filter(|_| direction == Direction::RecoveryToPrimary);
    FailoverRequest { kind: FailoverKind::Planned, data_sync, ..failover::request(world, direction) }
}

async fn planned_out(world: &ScenarioContext, source: &Running) -> Result<Running, ScenarioError> {
    world.enter(OUT);
    edge::await_work(world, OUT, source).await?;
    let before = world.core.item(&world.item).await?;
    let older = before.points.first().map_or_else(|| PointId::from("none"), |point| point.id.clone());
    let out = request(world, Direction::PrimaryToRecovery);
    let custom = FailoverRequest { point: PointChoice::Custom(older), ..out.clone() };
    let code = world.core.failover(&custom).await.err().map(|error| error.code);
    world.check(PF_05, code == Some(ErrorCode::BadRequest), format!("planned to an older point: {code:?}"));
    refused_shutdown(world, source, &out).await?;
    let after = world.recovery.last_boot(&world.machine).await.map_or(0, |boot| boot.number);
    let switch = Switch { edge: OUT, from: source, to: &world.recovery, after, exempt: None };
    let recovered = switch.make(world, &out, switch::nothing()).await?;
    let point = chosen_point(world, &before).await?;
    check_out(world, &recovered, &point).await?;
    let running = edge::put_to_work(world, &world.recovery, &recovered).await?;
    refused(world, HF_03, "failback before commit").await?;
    failover::commit(world, OUT, &running, &point).await?;
    Ok(running)
}

/// PF-04: a planned failover does not run if the source does not shut down; the source works on, replication goes on, and
/// what was wrong once it is mended can be asked for again.
async fn refused_shutdown(
    world: &ScenarioContext,
    source: &Running,
    out: &FailoverRequest,
) -> Result<(), ScenarioError> {
    let step = world.evidence.step(OUT, "refuse to shut down");
    world.primary.inject(&Fault::ShutdownRefused(world.machine.clone())).await?;
    let acked = source.last_record();
    let job =
        world.core.failover(&FailoverRequest { shutdown_within: REFUSED_WITHIN, ..out.clone() }).await?;
    let ended = end_of(world, &job).await?;
    let code = ended.error.as_ref().map(|error| error.code);
    let machines = world.recovery.machines().await?.len();
    let item = world.core.item(&world.item).await?.protection;
    let same = item.phase == Phase::Protected && item.active == Side::Primary && machines == 0;
    let failed = ended.state == JobState::Failed && code == Some(ErrorCode::ShutdownFailed);
    let works = edge::works_beyond(source, acked).await;
    let found = format!(
        "{:?} with {code:?}, {machines} target machines, {item:?}, the source works on: {works}",
        ended.state
    );
    world.check(PF_04, failed && same && works, found);
    world.primary.heal().await?;
    step.done();
    Ok(())
}

/// A job's end, which need not be a good one.
async fn end_of(world: &ScenarioContext, job: &JobId) -> Result<JobView, ScenarioError> {
    let mut seen = world.core.job(job).await?;
    let ends = async {
        while !seen.state.ended() {
            seen = world.core.watch_job(job, seen.revision).await?;
        }
        Ok::<_, ScenarioError>(seen)
    };
    let ended = tokio::time::timeout(JOB_WITHIN, ends).await;
    ended.map_err(|_| {
        ScenarioError::CoreViolation(format!("{OUT}: job {job} did not end in {JOB_WITHIN:?}"))
    })?
}

/// PF-02, PF-03, HY-07, LC-07.
async fn check_out(
    world: &ScenarioContext,
    recovered: &Recovered,
    point: &RecoveryPoint,
) -> Result<(), ScenarioError> {
    let steps = &recovered.job.steps;
    let down = steps.iter().find(|step| step.name == "shut down source");
    let off_at = down.map_or(u64::MAX, |step| step.started.0 + step.took.unwrap_or_default().0);
    let found = format!("point at {}, source off at {off_at}", point.time.0);
    world.check(PF_02, point.time.0 >= off_at, found);
    // The switch itself was judged: an edge that lost anything does not get here.
    let lost = world.findings().edges.last().map(|edge| edge.rpo.records);
    world.check(PF_03, lost == Some(0), format!("{lost:?} records lost"));
    let hydrated = steps.iter().any(|step| step.name == "hydrate");
    world.check(HY_07, !hydrated, format!("an ordinary Hyper-V machine was hydrated: {hydrated}"));
    let item = world.core.item(&world.item).await?;
    let pending = item.protection.phase == Phase::CommitPending && item.protection.active == Side::Recovery;
    world.check(LC_07, pending, format!("after phase 1: {:?}", item.protection));
    world.trace_state().await
}

/// A planned failover back is refused where the machine stands now.
async fn refused(world: &ScenarioContext, rule: RuleId, what: &str) -> Result<(), ScenarioError> {
    let back = request(world, Direction::RecoveryToPrimary);
    let code = world.core.failover(&back).await.err().map(|error| error.code);
    world.check(rule, code == Some(ErrorCode::NotAllowedInState), format!("{what}: {code:?}"));
    Ok(())
}

async fn planned_back(
    world: &ScenarioContext,
    cloud: &Running,
    original: &Running,
) -> Result<Running, ScenarioError> {
    world.enter(BACK);
    edge::await_work(world, BACK, cloud).await?;
    let unplanned = failover::request(world, Direction::RecoveryToPrimary);
    let code = world.core.failover(&unplanned).await.err().map(|error| error.code);
    world.check(HF_04, code == Some(ErrorCode::NotAllowedInState), format!("unplanned back: {code:?}"));
    let switch =
        Switch { edge: BACK, from: cloud, to: &world.primary, after: original.boot.number, exempt: None };
    let request = request(world, Direction::RecoveryToPrimary);
    let recovered = match world.data_sync {
        Some(DataSync::BeforeFailover) => {
            switch.make(world, &request, complete_when_waiting(world, cloud)).await?
        }
        _ => switch.make(world, &request, switch::nothing()).await?,
    };
    world.check(HF_01, is_planned_back(&recovered), "no reprotection came before");
    let item = world.core.item(&world.item).await?;
    let pending = item.protection.phase == Phase::CommitPending && item.protection.active == Side::Primary;
    world.check(HF_15, pending, format!("after failback: {:?}", item.protection));
    let early = world.core.reverse_replicate(&world.item).await.err().map(|error| error.code);
    world.check(HF_17, early == Some(ErrorCode::NotAllowedInState), format!("before commit: {early:?}"));
    let running = edge::put_to_work(world, &world.primary, &recovered).await?;
    let machine = world.recovery.machine(&world.machine).await?;
    let disks: Vec<_> = machine.disks.into_iter().map(|disk| disk.volume).collect();
    failback::commit(world).await?;
    let left = world.recovery.volume_files().await;
    let left = left.iter().filter(|(id, _, _)| disks.contains(id)).count();
    let found = format!("{left} of the cloud machine's {} disks after commit", disks.len());
    world.check(HF_16, left == 0 && !disks.is_empty(), found);
    Ok(running)
}

fn is_planned_back(recovered: &Recovered) -> bool {
    recovered.job.kind == contract::JobKind::PlannedFailover
        && recovered.job.direction == Direction::RecoveryToPrimary
}

/// HF-06, HF-08, JO-02: the job waits for as long as it takes, the cloud machine serves on, and only the user's
/// action lets it go on. Returns when that was.
async fn complete_when_waiting(
    world: &ScenarioContext,
    cloud: &Running,
) -> Result<Option<Instant>, ScenarioError> {
    let item = world.core.item(&world.item).await?;
    let Some(job) = item.job else { return Ok(None) };
    let mut seen = world.core.job(&job).await?;
    let waiting = async {
        while seen.state == JobState::InProgress {
            seen = world.core.watch_job(&job, seen.revision).await?;
        }
        Ok::<_, ScenarioError>(seen.state)
    };
    let state = tokio::time::timeout(JOB_WITHIN, waiting).await;
    let state = state
        .map_err(|_| ScenarioError::CoreViolation(format!("{BACK}: the job neither waited nor ended")))??;
    world.check(HF_08, state == JobState::WaitingForCompletion, format!("after phase 1: {state:?}"));
    if state != JobState::WaitingForCompletion {
        return Ok(None);
    }
    let guest = &cloud.boot.guest;
    let wanted = cloud.last_record() + RECORDS_OF_WAIT;
    let served = guest.race("records while the job waits", SERVE_WITHIN, guest.witness().acked(wanted)).await;
    let still = world.core.job(&job).await?.state == JobState::WaitingForCompletion;
    world.check(HF_06, served.is_ok(), "the cloud machine acknowledged on while data was synchronised");
    world.check(HF_08, still && !guest.is_gone(), "the job waited, the cloud machine ran");
    let resumed = Instant::now();
    world.core.complete_failover(&world.item).await?;
    world.check(JO_02, leaves_its_wait(world, &job).await?, "the user's action let the job go on");
    Ok(Some(resumed))
}

/// Whether the job leaves its wait.
async fn leaves_its_wait(world: &ScenarioContext, job: &JobId) -> Result<bool, ScenarioError> {
    let mut seen = world.core.job(job).await?;
    let leaves = async {
        while seen.state == JobState::WaitingForCompletion {
            seen = world.core.watch_job(job, seen.revision).await?;
        }
        Ok::<_, ScenarioError>(true)
    };
    tokio::time::timeout(SERVE_WITHIN, leaves).await.unwrap_or(Ok(false))
}
