//! A replication group of three machines: failed over together to one moment when their site is
//! lost, and failed back together without loss.
//!
//! The machines form a ring. Each record of a machine states which record of its neighbour was
//! durable before it was written. So a machine that has seen record *i* of its neighbour, recovered
//! together with a neighbour that lacks record *i*, is in a state that never existed (RP-11).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{
    Direction, ErrorCode, FailoverKind, FailoverRequest, GroupId, GroupPointId, ItemId, JobId, JobState,
    Millis, Operation, PlanFailoverRequest, PlanGroup, PlanId, PlanReprotectRequest, PointChoice,
    RecoveryPlan, RecoveryPoint, Timestamp,
};
use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use tracing::Instrument as _;
use witness::ledger::RecordNumber;

use crate::blame::ScenarioError;
use crate::judge::JudgedMachine;
use crate::real::context::{ScenarioContext, json_name};
use crate::real::cycles::Cycles;
use crate::real::edge::freshness::now;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::measure::Outage;
use crate::real::edge::name::EdgeName;
use crate::real::edge::planned_switchover::PlannedSwitchover;
use crate::real::edge::recover::{self, Recovered, RecoveryTarget};
use crate::real::edge::recovery_point::{failed_over_to, not_listed, until_points, wait_for_points};
use crate::real::edge::work::{AtWork, check_work};
use crate::real::job_limit::JOB_WITHIN;
use crate::real::machine::Running;
use crate::real::refusals::Forbidden;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;
use crate::rules::ids::*;

/// A machine of the group and the names of its edges. Machines boot at the same time, so their
/// bounds are wider than that of a single machine.
struct MemberEdges {
    machine: &'static str,
    failover: EdgeName,
    failback: EdgeName,
}

/// The machines; each is the neighbour of the one before it.
const MEMBERS: [MemberEdges; 3] = [
    MemberEdges {
        machine: "app",
        failover: EdgeName::new("group-failover-app", 18),
        failback: EdgeName::new("group-failback-app", 24),
    },
    MemberEdges {
        machine: "db",
        failover: EdgeName::new("group-failover-db", 18),
        failback: EdgeName::new("group-failback-db", 24),
    },
    MemberEdges {
        machine: "web",
        failover: EdgeName::new("group-failover-web", 18),
        failback: EdgeName::new("group-failback-web", 24),
    },
];
/// Names of the group's own jobs in progress and trace.
const GROUP_FAILOVER: &str = "group-failover";
const GROUP_FAILBACK: &str = "group-failback";
const PLAN: &str = "all-of-the-shop";
/// Moments that all machines must share before the site is lost.
const SHARED_MOMENTS: usize = 2;
/// How long these may take.
const SHARED_WITHIN: Duration = Duration::from_secs(180);

pub(crate) const SCRIPT: Script = Script {
    edges: || {
        let failovers = MEMBERS.iter().map(|member| member.failover);
        failovers.chain(MEMBERS.iter().map(|member| member.failback)).collect()
    },
    repeatable: true,
    needs: &[Operation::UnplannedFailover, Operation::Commit, Operation::Reprotect],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

/// A machine of the group, where it runs at the moment.
struct Member {
    edges: &'static MemberEdges,
    context: ScenarioContext,
    running: Running,
}

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut members = Vec::new();
    for edges in &MEMBERS {
        let context = context.for_machine(edges.machine);
        let running = setup::boot_source(&context).await?;
        members.push(Member { edges, context, running });
    }
    let result = run_cycles(context, &mut members).await;
    for member in &members {
        context.merge_findings(&member.context);
    }
    result
}

async fn run_cycles(context: &ScenarioContext, members: &mut [Member]) -> Result<(), ScenarioError> {
    protect(context, members).await?;
    let mut cycles = Cycles::begin(context)?;
    for _ in 0..context.run.cycles {
        fail_over(context, members).await?;
        commit(context, GROUP_FAILOVER, members).await?;
        context.primary.restore();
        reprotect(context, "reprotect", Direction::RecoveryToPrimary, members).await?;
        fail_back(context, members).await?;
        commit(context, GROUP_FAILBACK, members).await?;
        reprotect(context, "reprotect-forward", Direction::PrimaryToRecovery, members).await?;
        let contexts: Vec<_> = members.iter().map(|member| &member.context).collect();
        cycles.ended(&contexts).await?;
    }
    let machines: Vec<_> = members.iter().map(|member| (&member.context, &member.running)).collect();
    teardown::end_all(context, &machines).await
}

/// Tells each machine which records of its neighbour are durable, until dropped.
struct Ring {
    _tasks: JoinSet<()>,
}

impl Ring {
    fn start(members: &[Member]) -> Self {
        let mut tasks = JoinSet::new();
        for (index, member) in members.iter().enumerate() {
            let neighbour = Arc::clone(&member.running.boot);
            let machine = Arc::clone(&members[(index + 1) % members.len()].running.boot);
            tasks.spawn(async move {
                let mut seen = neighbour.guest.witness().last_ack();
                // Ends when either of the two guests ends.
                while neighbour.guest.witness().acked(seen + 1).await.is_ok() {
                    seen = neighbour.guest.witness().last_ack();
                    if machine.guest.witness().tell_seen(seen).await.is_err() {
                        return;
                    }
                }
            });
        }
        Self { _tasks: tasks }
    }
}

async fn protect(context: &ScenarioContext, members: &[Member]) -> Result<(), ScenarioError> {
    setup::create_policy(context).await?;
    for member in members {
        setup::enable_protection(&member.context, Some(GroupId::from("shop"))).await?;
    }
    let items: Vec<ItemId> = members.iter().map(|member| member.context.item.clone()).collect();
    let groups = vec![PlanGroup { items, ..PlanGroup::default() }];
    context.core.create_plan(&RecoveryPlan { id: PlanId::from(PLAN), groups }).await?;
    Ok(())
}

fn plan_request(direction: Direction, point: PointChoice) -> PlanFailoverRequest {
    PlanFailoverRequest {
        plan: PlanId::from(PLAN),
        kind: FailoverKind::Unplanned,
        direction,
        point,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
    }
}

/// RP-07, RP-10: a recovery point of several machines cannot be chosen for one machine, nor a named
/// recovery point for a plan.
async fn check_refused_points(member: &ScenarioContext, point: &RecoveryPoint) -> Result<(), ScenarioError> {
    let alone = FailoverRequest {
        point: PointChoice::LatestMultiVm,
        ..FailoverRequest::unplanned(&member.item, Direction::PrimaryToRecovery)
    };
    let forbidden = Forbidden {
        rule: RP_07,
        what: "a point of several machines for one machine",
        needs: Some(Operation::UnplannedFailover),
        codes: &[ErrorCode::MultiVmNeedsGroup],
    };
    member.forbids(forbidden, member.core.failover(&alone)).await?;
    let named = plan_request(Direction::PrimaryToRecovery, PointChoice::Custom(point.id.clone()));
    let forbidden = Forbidden {
        rule: RP_10,
        what: "a named point for a plan",
        needs: None,
        codes: &[ErrorCode::BadRequest],
    };
    member.forbids(forbidden, member.core.failover_plan(&named)).await
}

/// The moments of which every member has a recovery point, oldest first.
async fn shared_moments(members: &[Member]) -> Result<Vec<GroupPointId>, ScenarioError> {
    let mut shared: Option<Vec<GroupPointId>> = None;
    for Member { context, .. } in members {
        let points = context.core.item(&context.item).await?.points;
        let own: Vec<_> = points.into_iter().filter(|p| p.processed).filter_map(|p| p.multi_vm).collect();
        let known: BTreeSet<_> = own.iter().cloned().collect();
        shared = Some(shared.map_or(own, |all| all.into_iter().filter(|id| known.contains(id)).collect()));
    }
    Ok(shared.unwrap_or_default())
}

/// Waits, with each new recovery point of the first member, until enough moments are shared.
async fn wait_for_shared_moments(context: &ScenarioContext, members: &[Member]) -> Result<(), ScenarioError> {
    let step = context.evidence.step(GROUP_FAILOVER, "moments that all machines share");
    let wait = async {
        for count in 1.. {
            let first = &members[0].context;
            until_points(&first.core, &first.item, count).await?;
            if shared_moments(members).await?.len() >= SHARED_MOMENTS {
                break;
            }
        }
        Ok::<_, ScenarioError>(())
    };
    let awaited = format!("{SHARED_MOMENTS} moments that all machines share");
    let guest = &members[0].running.boot.guest;
    context.expect_of_core(RP_08, GROUP_FAILOVER, &awaited, guest, SHARED_WITHIN, wait).await?;
    step.done();
    Ok(())
}

async fn fail_over(context: &ScenarioContext, members: &mut [Member]) -> Result<(), ScenarioError> {
    let ring = Ring::start(members);
    wait_for_shared_moments(context, members).await?;
    let mut edges = Vec::new();
    let mut targets = Vec::new();
    for Member { edges: names, context, running } in members.iter() {
        let edge = Edge::begin(context, names.failover, running);
        edge.wait_for_work().instrument(edge.span()).await?;
        edge.wait_for_fresh_points().instrument(edge.span()).await?;
        targets.push(RecoveryTarget::next_boot_of(&context.machine, &context.recovery).await);
        edges.push(edge);
    }
    let point = context.core.item(&members[0].context.item).await?.points.first().cloned();
    let point =
        point.ok_or_else(|| ScenarioError::CoreViolation(format!("{GROUP_FAILOVER}: there is no point")))?;
    check_refused_points(&members[0].context, &point).await?;
    let source_stopped = context.lose_primary().await?;
    let newest_shared = newest_shared_time(members).await?;
    drop(ring);
    context.trace(format!("{GROUP_FAILOVER}: the source site is lost"));
    let outage = Outage { source_stopped, triggered: Instant::now(), after_wait: false };
    let request = plan_request(Direction::PrimaryToRecovery, PointChoice::LatestMultiVm);
    let plan = context.core.failover_plan(&request).await?;
    let jobs = jobs_of_members(context, &plan, members).await?;
    let boots = edges.iter().zip(&targets).zip(&jobs);
    let boots = boots.map(|((edge, target), job)| edge.recover(target, job).instrument(edge.span()));
    let recovered = try_join_all(boots).await?;
    check_plan_job(context, &plan).await?;
    check_one_moment(context, members, newest_shared).await?;
    let mut causality = Vec::new();
    let mut machines = Vec::new();
    for (edge, recovered) in edges.into_iter().zip(recovered) {
        let judge = judge_failover(edge, recovered, outage);
        let (machine, records) = judge.instrument(edge.span()).await?;
        machines.push(machine);
        causality.push(records);
    }
    check_causality(context, &causality);
    put_to_work(members, &machines).await
}

/// The time of the newest moment that all machines share, by the clock of the first.
async fn newest_shared_time(members: &[Member]) -> Result<Timestamp, ScenarioError> {
    let newest = shared_moments(members).await?.pop();
    let first = &members[0].context;
    let points = first.core.item(&first.item).await?.points;
    let shared = points.iter().find(|point| newest.is_some() && point.multi_vm == newest);
    Ok(shared.map_or(Timestamp(0), |point| point.time))
}

/// RP-08: all machines were failed over to the same moment, which is the newest that they shared
/// when the failover was requested, or a newer one.
async fn check_one_moment(
    context: &ScenarioContext,
    members: &[Member],
    newest_shared: Timestamp,
) -> Result<(), ScenarioError> {
    let mut moments = BTreeSet::new();
    for Member { context, .. } in members {
        let item = context.core.item(&context.item).await?;
        moments.insert(failed_over_to(&item).and_then(|point| point.multi_vm.clone()));
    }
    let same = moments.len() == 1 && !moments.contains(&None);
    context.check(RP_08, same, format!("{} moments for {} machines", moments.len(), members.len()));
    let first = &members[0].context;
    let item = first.core.item(&first.item).await?;
    let used = failed_over_to(&item).map_or(Timestamp(0), |point| point.time);
    let older = newest_shared.since(used);
    let found = format!("{PLAN} was failed over to a moment {older} older than the newest shared one");
    context.check(RP_08, used >= newest_shared, found);
    Ok(())
}

/// What the disks of a machine say about the order of records between it and its neighbour.
struct CausalRecords {
    /// The last record of its neighbour that the machine has seen.
    seen_of_neighbour: RecordNumber,
    /// The machine's own last record.
    own: RecordNumber,
}

impl CausalRecords {
    fn of(machine: &JudgedMachine) -> Self {
        Self {
            seen_of_neighbour: machine.seen().unwrap_or_default(),
            own: machine.contiguous().unwrap_or_default(),
        }
    }
}

async fn judge_failover(
    edge: Edge<'_>,
    recovered: Recovered,
    outage: Outage,
) -> Result<(Recovered, CausalRecords), ScenarioError> {
    let context = edge.context();
    let item = context.core.item(&context.item).await?;
    let point = failed_over_to(&item).ok_or_else(|| not_listed(edge.name().as_str()))?;
    let judged = edge.judge_recovery_from(point, recovered, outage).await?;
    let records = CausalRecords::of(&judged.judgement.disks.machine);
    Ok((edge.finish(judged)?, records))
}

/// RP-11: a neighbour has every record that a machine has seen of it.
fn check_causality(context: &ScenarioContext, records: &[CausalRecords]) {
    for (index, neighbour) in records.iter().enumerate() {
        let next = (index + 1) % records.len();
        let seen = records[next].seen_of_neighbour;
        let machine = MEMBERS[next].machine;
        let found = format!(
            "{machine} has seen record {seen} of {}, which has {}",
            MEMBERS[index].machine, neighbour.own
        );
        context.check(RP_11, seen > 0 && seen <= neighbour.own, found);
    }
}

/// Gives the recovered machines their load again.
async fn put_to_work(members: &mut [Member], recovered: &[Recovered]) -> Result<(), ScenarioError> {
    for (member, recovered) in members.iter_mut().zip(recovered) {
        member.running = recover::put_to_work(&member.context, recovered).await?;
    }
    Ok(())
}

async fn fail_back(context: &ScenarioContext, members: &mut [Member]) -> Result<(), ScenarioError> {
    let mut switchovers = Vec::new();
    for Member { edges: names, context, running } in members.iter() {
        let edge = Edge::begin(context, names.failback, running);
        edge.wait_for_work().instrument(edge.span()).await?;
        let target = RecoveryTarget::next_boot_of(&context.machine, &context.primary).await;
        switchovers.push(PlannedSwitchover { edge, target, shutdown_rule: FB_06 });
    }
    let requested = Instant::now();
    let request = plan_request(Direction::RecoveryToPrimary, PointChoice::Latest);
    let plan = context.core.failover_plan(&request).await?;
    let jobs = jobs_of_members(context, &plan, members).await?;
    let switchovers = switchovers.into_iter().zip(&jobs).map(|(switchover, job)| {
        let span = switchover.edge.span();
        switchover.follow(requested, job).instrument(span)
    });
    let recovered = try_join_all(switchovers).await?;
    check_plan_job(context, &plan).await?;
    put_to_work(members, &recovered).await
}

/// Waits until the plan has started a job for each member, and returns these jobs.
async fn jobs_of_members(
    context: &ScenarioContext,
    plan: &JobId,
    members: &[Member],
) -> Result<Vec<JobId>, ScenarioError> {
    let wait = async {
        let mut view = context.core.job(plan).await?;
        loop {
            let progress = view.plan.clone().unwrap_or_default();
            let job_of = |member: &Member| {
                let found = progress.members.iter().find(|one| one.item == member.context.item);
                found.and_then(|one| one.job.clone())
            };
            if let Some(jobs) = members.iter().map(job_of).collect::<Option<Vec<_>>>() {
                return Ok::<_, ScenarioError>(jobs);
            }
            if view.state.ended() {
                let ended = format!("plan {PLAN} ended {:?}: {:?}", view.state, view.error);
                return Err(context.blame_of_failed_job(ended, &view));
            }
            view = context.core.watch_job(plan, view.revision).await?;
        }
    };
    let began = now();
    let waited = tokio::time::timeout(JOB_WITHIN, wait).await;
    waited.map_err(|_| {
        let found = format!("plan {PLAN} did not start a job for each machine within {JOB_WITHIN:?}");
        context.overdue_since(began, JO_01, "plan", &found)
    })?
}

/// PL-02, PL-08: the plan's job ends well and says how long it took.
async fn check_plan_job(context: &ScenarioContext, plan: &JobId) -> Result<(), ScenarioError> {
    let job = context.follow("plan", plan).await?;
    let well = matches!(job.state, JobState::Completed | JobState::CompletedWithWarning);
    let found = format!("{} {}: {}", json_name(&job.kind), json_name(&job.direction), json_name(&job.state));
    context.check(PL_02, well, found);
    let took = job.plan.and_then(|plan| plan.took);
    context.check(PL_08, took.is_some(), format!("the plan took {took:?} without scripts and people"));
    Ok(())
}

async fn commit(context: &ScenarioContext, label: &str, members: &[Member]) -> Result<(), ScenarioError> {
    let at_work: Vec<_> = members.iter().map(|member| AtWork::watch(&member.running)).collect();
    let job = context.core.commit_plan(&PlanId::from(PLAN)).await?;
    context.follow(label, &job).await?;
    for (Member { context, .. }, at_work) in members.iter().zip(&at_work) {
        let left = context.core.item(&context.item).await?.points.len();
        let work = at_work.so_far().await;
        check_work(context, FO_04, &work, left == 0, &format!("{left} points left"));
    }
    Ok(())
}

async fn reprotect(
    context: &ScenarioContext,
    label: &str,
    direction: Direction,
    members: &[Member],
) -> Result<(), ScenarioError> {
    let mut settings = Vec::new();
    for Member { context, .. } in members {
        settings.push(context.reprotect_request(direction).await?);
    }
    let request = PlanReprotectRequest { plan: PlanId::from(PLAN), direction, settings };
    let job = context.core.reprotect_plan(&request).await?;
    context.follow(label, &job).await?;
    let rule = match direction {
        Direction::RecoveryToPrimary => RE_01,
        Direction::PrimaryToRecovery => RE_29,
    };
    for Member { context, running, .. } in members {
        wait_for_points(context, rule, label, running).await?;
    }
    Ok(())
}
