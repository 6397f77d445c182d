//! A replication group: three machines, each of which writes down what it has seen of its neighbour. They go out
//! together to one moment, when the site is lost, and come back together without loss.
//!
//! The neighbours stand in a ring. A record says which record of the neighbour was known to be durable before it was
//! written; so a machine that has seen record *i* of another, recovered beside that other without its record *i*, was
//! cut at a moment that never was (RP-11).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{
    Direction, ErrorCode, FailoverKind, GroupId, GroupPointId, JobId, JobState, JobView, PlanFailoverRequest,
    PlanGroup, PlanId, PlanReprotectRequest, PointChoice, RecoveryPlan, RecoveryPoint,
};
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use crate::blame::ScenarioError;
use crate::judge::JudgedMachine;
use crate::real::context::{JOB_WITHIN, ScenarioContext, word};
use crate::real::edge;
use crate::real::edge::Recovered;
use crate::real::edge::failover::{check_hydration, disks_under_test, request};
use crate::real::edge::measure;
use crate::real::edge::planned_switchover as switch;
use crate::real::edge::planned_switchover::Switch;
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::teardown as finish;
use crate::rules::ids::*;

/// The machines, each the neighbour of the one before.
const MEMBERS: [&str; 3] = ["app", "db", "web"];
const PLAN: &str = "all-of-the-shop";
/// Moments that all machines must share before the site is lost.
const MOMENTS: usize = 2;
/// How long those may take.
const MOMENTS_WITHIN: Duration = Duration::from_secs(180);

/// A member of the group where it runs now.
struct Member {
    world: ScenarioContext,
    running: Running,
}

pub(crate) async fn cycle(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut members = Vec::new();
    for name in MEMBERS {
        let world = world.member(name);
        let running = setup::boot_source(&world).await?;
        members.push(Member { world, running });
    }
    let result = rounds(world, &mut members).await;
    for member in &members {
        world.merge_findings(&member.world);
    }
    result
}

async fn rounds(world: &ScenarioContext, members: &mut [Member]) -> Result<(), ScenarioError> {
    protect(world, members).await?;
    for _ in 0..world.context.cycles {
        let originals: Vec<_> = members.iter().map(|member| member.running.clone()).collect();
        fail_over(world, members).await?;
        commit(world, "group-failover", members).await?;
        world.primary.restore();
        reprotect(world, "reprotect", Direction::RecoveryToPrimary, members).await?;
        fail_back(world, members, &originals).await?;
        commit(world, "group-failback", members).await?;
        reprotect(world, "reprotect-forward", Direction::PrimaryToRecovery, members).await?;
    }
    let runs: Vec<_> = members.iter().map(|member| (&member.world, &member.running)).collect();
    finish::end_all(world, &runs).await
}

/// Each machine hears of its neighbour's acknowledged records, until dropped.
struct Ring {
    _tasks: JoinSet<()>,
}

impl Ring {
    fn close(members: &[Member]) -> Self {
        let mut tasks = JoinSet::new();
        for (index, member) in members.iter().enumerate() {
            let from = Arc::clone(&member.running.boot);
            let to = Arc::clone(&members[(index + 1) % members.len()].running.boot);
            tasks.spawn(async move {
                let mut told = from.guest.witness().last_ack();
                // Ends with either of the two.
                while from.guest.witness().acked(told + 1).await.is_ok() {
                    told = from.guest.witness().last_ack();
                    if to.guest.witness().tell_seen(told).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self { _tasks: tasks }
    }
}

async fn protect(world: &ScenarioContext, members: &[Member]) -> Result<(), ScenarioError> {
    setup::make_policy(world).await?;
    for member in members {
        setup::protect_in(&member.world, Some(GroupId::from("shop"))).await?;
    }
    let items = members.iter().map(|member| member.world.item.clone()).collect();
    let groups = vec![PlanGroup { items, ..PlanGroup::default() }];
    world.core.create_plan(&RecoveryPlan { id: PlanId::from(PLAN), groups }).await?;
    Ok(())
}

fn plan_request(direction: Direction, point: PointChoice) -> PlanFailoverRequest {
    PlanFailoverRequest {
        plan: PlanId::from(PLAN),
        kind: FailoverKind::Unplanned,
        direction,
        point,
        shut_down_source: false,
        shutdown_within: contract::Millis(60_000),
        data_sync: None,
    }
}

/// RP-07, RP-10: a choice of several machines' points is none of a single one's, and a named point is no plan's.
async fn refused_before(
    world: &ScenarioContext,
    member: &ScenarioContext,
    point: &RecoveryPoint,
) -> Result<(), ScenarioError> {
    let mut alone = request(member, Direction::PrimaryToRecovery);
    alone.point = PointChoice::LatestMultiVm;
    let code = world.core.failover(&alone).await.err().map(|error| error.code);
    world.check(RP_07, code == Some(ErrorCode::MultiVmNeedsGroup), format!("for one machine: {code:?}"));
    let named = plan_request(Direction::PrimaryToRecovery, PointChoice::Custom(point.id.clone()));
    let code = world.core.failover_plan(&named).await.err().map(|error| error.code);
    world.check(RP_10, code == Some(ErrorCode::BadRequest), format!("for a plan: {code:?}"));
    Ok(())
}

/// The moments that the points of all members share, oldest first.
async fn shared(members: &[Member]) -> Result<Vec<GroupPointId>, ScenarioError> {
    let mut shared: Option<Vec<GroupPointId>> = None;
    for Member { world, .. } in members {
        let points = world.core.item(&world.item).await?.points;
        let own: Vec<_> = points.into_iter().filter(|p| p.processed).filter_map(|p| p.multi_vm).collect();
        let known: BTreeSet<_> = own.iter().cloned().collect();
        shared = Some(shared.map_or(own, |all| all.into_iter().filter(|id| known.contains(id)).collect()));
    }
    Ok(shared.unwrap_or_default())
}

/// Waits, point by point of the first member, until there are moments that all share.
async fn await_moments(world: &ScenarioContext, edge: &str, members: &[Member]) -> Result<(), ScenarioError> {
    let step = world.evidence.step(edge, "moments that all machines share");
    let wait = async {
        for count in 1.. {
            let member = &members[0].world;
            member.core.watch_points(&member.item, count).await?;
            if shared(members).await?.len() >= MOMENTS {
                break;
            }
        }
        Ok::<_, ScenarioError>(())
    };
    let waited = tokio::time::timeout(MOMENTS_WITHIN, wait).await;
    waited.map_err(|_| {
        ScenarioError::CoreViolation(format!("{edge}: no shared moment in {MOMENTS_WITHIN:?}"))
    })??;
    step.done();
    Ok(())
}

async fn fail_over(world: &ScenarioContext, members: &mut [Member]) -> Result<(), ScenarioError> {
    const EDGE: &str = "group-failover";
    let ring = Ring::close(members);
    await_moments(world, EDGE, members).await?;
    for member in members.iter() {
        member.world.enter(&name(EDGE, &member.world));
        edge::await_work(&member.world, EDGE, &member.running).await?;
    }
    let point = world.core.item(&members[0].world.item).await?.points.first().cloned();
    let point = point.ok_or_else(|| ScenarioError::CoreViolation(format!("{EDGE}: there is no point")))?;
    refused_before(world, &members[0].world, &point).await?;
    let disaster = world.primary.lose().await?;
    drop(ring);
    world.trace("group-failover: the source site is lost");
    let trigger = Instant::now();
    let asked = plan_request(Direction::PrimaryToRecovery, PointChoice::LatestMultiVm);
    let plan = world.core.failover_plan(&asked).await?;
    let jobs = member_jobs(world, &plan, members).await?;
    let boots = members.iter().zip(&jobs).map(|(Member { world, .. }, job)| async move {
        let edge = name(EDGE, world);
        let after = world.recovery.last_boot(&world.machine).await.map_or(0, |boot| boot.number);
        edge::recover(world, &edge, &world.recovery, &world.machine, after, job).await
    });
    let recovered = try_join_all(boots).await?;
    ended(world, &plan).await?;
    same_moment(world, members).await?;
    let mut judged = Vec::new();
    for (member, recovered) in members.iter().zip(&recovered) {
        let times = (disaster, trigger);
        judged.push(judge_out(member, &name(EDGE, &member.world), recovered, times).await?);
    }
    causes_are_there(world, &judged).await;
    settle(members, &recovered).await
}

/// One machine of a group at an edge.
fn name(edge: &str, member: &ScenarioContext) -> String {
    format!("{edge}-{}", member.machine)
}

/// RP-08: all of them were taken to one moment.
async fn same_moment(world: &ScenarioContext, members: &[Member]) -> Result<(), ScenarioError> {
    let mut moments = BTreeSet::new();
    for Member { world, .. } in members {
        let item = world.core.item(&world.item).await?;
        let chosen = item.points.iter().find(|point| Some(&point.id) == item.failed_over_to.as_ref());
        moments.insert(chosen.and_then(|point| point.multi_vm.clone()));
    }
    let one = moments.len() == 1 && !moments.contains(&None);
    world.check(RP_08, one, format!("{} moments for {} machines", moments.len(), members.len()));
    Ok(())
}

async fn judge_out(
    Member { world, running }: &Member,
    edge: &str,
    recovered: &Recovered,
    (disaster, trigger): (Instant, Instant),
) -> Result<(u64, u64), ScenarioError> {
    let item = world.core.item(&world.item).await?;
    let chosen = item.points.iter().find(|point| Some(&point.id) == item.failed_over_to.as_ref());
    let chosen = chosen
        .ok_or_else(|| ScenarioError::CoreViolation(format!("{edge}: its point is not in the list")))?;
    let dir = world.edge_dir(edge)?;
    let judged = edge::with_point(&world.recovery, chosen, &dir, async |files| {
        check_hydration(world, &recovered.boot, &files).await?;
        edge::judge(
            world,
            edge,
            disks_under_test(&running.boot, &recovered.boot, &files),
            running.initial_record,
        )
        .await
    })
    .await?;
    let survived = recovered.findings.ledger.contiguous;
    let rpo = measure::rpo(&running.boot.guest.witness().acks(), survived, disaster, judged.0.lost);
    let rto = recovered.rto(world, trigger, false).await;
    let inside = edge::inside_agrees(&recovered.findings, &judged.0);
    let causes = seen_and_held(&judged.0);
    edge::conclude(world, edge, judged, rpo, rto, inside).await?;
    Ok(causes)
}

/// The last record of the neighbour that a machine has seen, and its own last record, by its disks.
fn seen_and_held(judged: &JudgedMachine) -> (u64, u64) {
    (judged.seen().unwrap_or_default(), judged.contiguous().unwrap_or_default())
}

/// RP-11: whatever a machine has seen of its neighbour, the neighbour has.
async fn causes_are_there(world: &ScenarioContext, judged: &[(u64, u64)]) {
    for (index, (_, held)) in judged.iter().enumerate() {
        let next = (index + 1) % judged.len();
        let seen = judged[next].0;
        let found =
            format!("{} has seen record {seen} of {}, which holds {held}", MEMBERS[next], MEMBERS[index]);
        world.check(RP_11, seen > 0 && seen <= *held, found);
    }
}

/// Lets the recovered machines work on.
async fn settle(members: &mut [Member], recovered: &[Recovered]) -> Result<(), ScenarioError> {
    for (member, recovered) in members.iter_mut().zip(recovered) {
        let site = if Arc::ptr_eq(&member.running.site, &member.world.primary) {
            Arc::clone(&member.world.recovery)
        } else {
            Arc::clone(&member.world.primary)
        };
        member.running = edge::put_to_work(&member.world, &site, recovered).await?;
    }
    Ok(())
}

async fn fail_back(
    world: &ScenarioContext,
    members: &mut [Member],
    originals: &[Running],
) -> Result<(), ScenarioError> {
    const EDGE: &str = "group-failback";
    for member in members.iter() {
        member.world.enter(&name(EDGE, &member.world));
        edge::await_work(&member.world, EDGE, &member.running).await?;
    }
    let trigger = Instant::now();
    let asked = plan_request(Direction::RecoveryToPrimary, PointChoice::Latest);
    let plan = world.core.failover_plan(&asked).await?;
    let jobs = member_jobs(world, &plan, members).await?;
    let switches = members.iter().zip(originals).zip(&jobs).map(|((member, original), job)| async move {
        let edge = name(EDGE, &member.world);
        let (from, to, after) = (&member.running, &member.world.primary, original.boot.number);
        let switch = Switch { edge: &edge, from, to, after, exempt: None };
        switch.follow(&member.world, trigger, job, switch::nothing()).await
    });
    let recovered = try_join_all(switches).await?;
    ended(world, &plan).await?;
    settle(members, &recovered).await
}

/// The jobs of a plan's machines, once all of them have one.
async fn member_jobs(
    world: &ScenarioContext,
    plan: &JobId,
    members: &[Member],
) -> Result<Vec<JobId>, ScenarioError> {
    let wait = async {
        let mut seen = world.core.job(plan).await?;
        loop {
            let progress = seen.plan.clone().unwrap_or_default();
            let job = |member: &Member| {
                let found = progress.members.iter().find(|one| one.item == member.world.item);
                found.and_then(|one| one.job.clone())
            };
            if let Some(jobs) = members.iter().map(job).collect::<Option<Vec<_>>>() {
                return Ok::<_, ScenarioError>(jobs);
            }
            if seen.state.ended() {
                return Err(ScenarioError::CoreViolation(format!(
                    "plan {PLAN} ended {:?}: {:?}",
                    seen.state, seen.error
                )));
            }
            seen = world.core.watch_job(plan, seen.revision).await?;
        }
    };
    let waited = tokio::time::timeout(JOB_WITHIN, wait).await;
    waited
        .map_err(|_| ScenarioError::CoreViolation(format!("plan {PLAN} began no jobs in {JOB_WITHIN:?}")))?
}

/// PL-02, PL-08: the plan's job ends well and tells how long it took.
async fn ended(world: &ScenarioContext, plan: &JobId) -> Result<JobView, ScenarioError> {
    let job = world.follow("plan", plan).await?;
    let well = matches!(job.state, JobState::Completed | JobState::CompletedWithWarning);
    let found = format!("{} {}: {}", word(&job.kind), word(&job.direction), word(&job.state));
    world.check(PL_02, well, found);
    let took = job.plan.and_then(|plan| plan.took);
    world.check(PL_08, took.is_some(), format!("the plan took {took:?} without scripts and people"));
    Ok(world.core.job(plan).await?)
}

async fn commit(world: &ScenarioContext, edge: &str, members: &[Member]) -> Result<(), ScenarioError> {
    let job = world.core.commit_plan(&PlanId::from(PLAN)).await?;
    world.follow(edge, &job).await?;
    for Member { world, running } in members {
        let left = world.core.item(&world.item).await?.points.len();
        let works = edge::works_beyond(running, running.last_record()).await;
        world.check(FO_04, left == 0 && works, format!("{left} points left, at work: {works}"));
    }
    Ok(())
}

async fn reprotect(
    world: &ScenarioContext,
    edge: &str,
    direction: Direction,
    members: &[Member],
) -> Result<(), ScenarioError> {
    let mut settings = Vec::new();
    for Member { world, .. } in members {
        settings.push(world.reprotection(direction).await?);
    }
    let request = PlanReprotectRequest { plan: PlanId::from(PLAN), direction, settings };
    let job = world.core.reprotect_plan(&request).await?;
    world.follow(edge, &job).await?;
    for Member { world, running } in members {
        edge::await_points(world, edge, running).await?;
    }
    Ok(())
}
