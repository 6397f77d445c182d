//! Recovery plans: machines that go together, in groups, with scripts and manual steps between them (PL-01 to PL-08).
//!
//! - `shape`: what a plan must look like
//! - `admit`: which of its machines take part, and when the whole is refused
//! - `run`: a plan's job, from group to group; it goes on where it stopped
//! - `members`: the machines of a group, each a job of its own
//! - `points`: which recovery point each of them goes to
//! - `action`, `script`: what is done between them

mod action;
mod admit;
mod members;
mod points;
mod run;
mod script;
mod shape;

use std::sync::Arc;

use contract::{
    ActionPlace, CoreError, Direction, ErrorCode, FailoverKind, FailoverRequest, FailoverType, ItemId, JobId,
    JobKind, JobSubject, Operation, PlanAction, PlanActionView, PlanFailoverRequest, PlanId, PlanLimits,
    PlanMember, PlanProgress, PlanReprotectRequest, PlanState, PlanTestFailoverRequest, PointChoice,
    RecoveryPlan, ReprotectRequest, Side, TestFailoverRequest,
};
use serde::{Deserialize, Serialize};

use crate::core::{Inner, unknown};
use crate::item::Record;
use crate::jobs::{Job, Kept, Task};
use crate::order::Order;

pub(crate) use run::{carry_out, check_retry, retry, take_up};

/// The largest plan (EX-P1).
pub(crate) const LIMITS: PlanLimits = PlanLimits { groups: 7, items: 100 };

/// What a plan can be told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PlanOrder {
    Failover(PlanFailoverRequest),
    TestFailover(PlanTestFailoverRequest),
    CleanUp,
    Commit,
    Reprotect(PlanReprotectRequest),
}

/// What a plan's job was told to do, with the plan as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanTask {
    pub(crate) plan: RecoveryPlan,
    pub(crate) order: PlanOrder,
}

impl PlanOrder {
    /// What the job is called.
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Failover(request) => match request.kind {
                FailoverKind::Planned => JobKind::PlannedFailover,
                FailoverKind::Unplanned => JobKind::UnplannedFailover,
            },
            Self::TestFailover(_) => JobKind::TestFailover,
            Self::CleanUp => JobKind::TestFailoverCleanup,
            Self::Commit => JobKind::Commit,
            Self::Reprotect(_) => JobKind::Reprotect,
        }
    }

    /// What actions are asked by; `None` if it does none, and then its groups need not wait for each other.
    fn failover_type(&self) -> Option<FailoverType> {
        match self {
            Self::Failover(request) => Some(match request.kind {
                FailoverKind::Planned => FailoverType::Planned,
                FailoverKind::Unplanned => FailoverType::Unplanned,
            }),
            Self::TestFailover(_) => Some(FailoverType::Test),
            Self::CleanUp | Self::Commit | Self::Reprotect(_) => None,
        }
    }

    /// Whether the first error stops it (EX-T6).
    pub(crate) fn stops_on_error(&self) -> bool {
        self.failover_type() == Some(FailoverType::Planned)
    }

    fn point(&self) -> Option<&PointChoice> {
        match self {
            Self::Failover(request) => Some(&request.point),
            Self::TestFailover(request) => Some(&request.point),
            Self::CleanUp | Self::Commit | Self::Reprotect(_) => None,
        }
    }

    /// The side a failover leads to.
    fn leads_to(&self) -> Option<Side> {
        let Self::Failover(request) = self else { return None };
        Some(match request.direction {
            Direction::PrimaryToRecovery => Side::Recovery,
            Direction::RecoveryToPrimary => Side::Primary,
        })
    }

    /// What one machine is told, with the point chosen for it.
    fn for_member(&self, record: &Record, point: &PointChoice) -> Order {
        let item = record.id.clone();
        match self {
            Self::Failover(request) => Order::Failover(FailoverRequest {
                item,
                kind: request.kind,
                direction: request.direction,
                point: point.clone(),
                shut_down_source: request.shut_down_source,
                shutdown_within: request.shutdown_within,
                data_sync: request.data_sync,
                alternate: None,
                certificate: None,
            }),
            Self::TestFailover(request) => Order::TestFailover(TestFailoverRequest {
                item,
                point: point.clone(),
                network: request.network,
            }),
            Self::CleanUp => Order::TestFailoverCleanup,
            Self::Commit => Order::Commit,
            Self::Reprotect(request) => reprotect(record, request),
        }
    }
}

/// Each machine replicates in the opposite direction in the way its pair knows.
fn reprotect(record: &Record, request: &PlanReprotectRequest) -> Order {
    if record.pair.find(record.protection, Operation::ReverseReplicate).is_some() {
        return Order::ReverseReplicate;
    }
    let settings = request.settings.iter().find(|settings| settings.item == record.id).cloned();
    let plain = || ReprotectRequest::new(&record.id, request.direction);
    Order::Reprotect(settings.unwrap_or_else(plain))
}

impl PlanTask {
    /// Where the job begins: everything waits that is meant for it.
    fn progress(&self, direction: Direction) -> PlanProgress {
        let mut progress = PlanProgress::default();
        for (number, group) in (1..).zip(&self.plan.groups) {
            let member = |item: &ItemId| PlanMember {
                item: item.clone(),
                group: number,
                state: PlanState::Waiting,
                job: None,
                why: None,
            };
            progress.members.extend(group.items.iter().map(member));
            for (place, actions) in [(ActionPlace::Before, &group.before), (ActionPlace::After, &group.after)]
            {
                let action = |action| self.action_view(action, number, place, direction);
                progress.actions.extend(actions.iter().map(action));
            }
        }
        progress
    }

    fn action_view(
        &self,
        action: &PlanAction,
        group: u32,
        place: ActionPlace,
        direction: Direction,
    ) -> PlanActionView {
        let due = self.order.failover_type().is_some_and(|kind| action.is_due(kind, direction));
        PlanActionView {
            name: action.name.clone(),
            group,
            place,
            state: if due { PlanState::Waiting } else { PlanState::Skipped },
            runs: 0,
            started: None,
            why: None,
        }
    }

    /// All its items, group by group.
    fn items(&self) -> impl Iterator<Item = &ItemId> {
        self.plan.groups.iter().flat_map(|group| &group.items)
    }

    /// Its actions, in the order of [`PlanProgress::actions`].
    fn actions(&self) -> impl Iterator<Item = &PlanAction> {
        self.plan.groups.iter().flat_map(|group| group.before.iter().chain(&group.after))
    }
}

pub(crate) async fn create(core: &Inner, plan: &RecoveryPlan) -> Result<(), CoreError> {
    let mut plans = core.plans.lock().await;
    if plans.contains_key(&plan.id) {
        let text = format!("there is a plan {} already; delete it first or choose another name", plan.id);
        return Err(CoreError::new(ErrorCode::PlanExists, text));
    }
    shape::check(core, plan).await?;
    core.store.put_plan(plan)?;
    plans.insert(plan.id.clone(), plan.clone());
    Ok(())
}

pub(crate) async fn delete(core: &Inner, id: &PlanId) -> Result<(), CoreError> {
    let mut plans = core.plans.lock().await;
    if !plans.contains_key(id) {
        return Err(unknown("plan", id));
    }
    check_free(core, id).await?;
    core.store.remove_plan(id)?;
    plans.remove(id);
    Ok(())
}

pub(crate) async fn list(core: &Inner) -> Vec<RecoveryPlan> {
    core.plans.lock().await.values().cloned().collect()
}

/// Does what is ordered as a job of the plan. What is refused leaves no trace.
pub(crate) async fn start(core: &Arc<Inner>, id: &PlanId, order: PlanOrder) -> Result<JobId, CoreError> {
    // Held to the end, so that no other job of a plan begins meanwhile.
    let plans = core.plans.lock().await;
    let plan = plans.get(id).cloned().ok_or_else(|| unknown("plan", id))?;
    check_free(core, id).await?;
    let task = PlanTask { plan, order };
    let direction = admit::admit(core, &task).await?;
    let mut jobs = core.jobs.lock().await;
    let progress = task.progress(direction);
    let subject = JobSubject::Plan(id.clone());
    let mut kept = Kept::new(jobs.next(), subject, Task::Plan(task), direction, None, core.now());
    kept.view.plan = Some(progress);
    core.store.put_job(&kept)?;
    let job = jobs.add(Job::known(Arc::clone(&core.store), core.clock(), kept));
    drop(jobs);
    let started = job.id();
    tokio::spawn(carry_out(Arc::clone(core), job));
    Ok(started)
}

/// Refuses a plan of which a job is at work.
async fn check_free(core: &Inner, id: &PlanId) -> Result<(), CoreError> {
    let jobs = core.jobs.lock().await;
    let holds = |view: &contract::JobView| {
        let works = !view.state.ended() && matches!(&view.subject, JobSubject::Plan(plan) if plan == id);
        works.then(|| view.id.clone())
    };
    match jobs.iter().rev().find_map(|job| job.look(holds)) {
        Some(holder) => Err(CoreError::new(ErrorCode::Busy, format!("job {holder} of plan {id} is at work"))),
        None => Ok(()),
    }
}
