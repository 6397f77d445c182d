//! Variants that show the same things in another way.

use async_trait::async_trait;
use contract::{
    Bytes, Capabilities, CoreError, Direction, ItemView, JobKind, JobView, Millis, PlanLimits, PlatformKind,
    Policy, PolicyId, PolicyView, ReplicationCore, Step, StepState,
};

use super::difference::Difference;

/// The steps whose names the contract fixes.
const FIXED: [&str; 5] = [
    Step::SHUT_DOWN_SOURCE,
    Step::PROCESS_RECEIVED,
    Step::HYDRATE,
    Step::MERGE_SNAPSHOTS,
    Step::CREATE_MACHINE,
];

fn is_fixed(step: &Step) -> bool {
    FIXED.contains(&step.name.as_str())
}

/// Names the steps of jobs differently.
pub(super) struct OtherStepNames;

impl Difference for OtherStepNames {
    fn job(&self, mut view: JobView) -> JobView {
        for step in view.steps.iter_mut().filter(|step| !is_fixed(step)) {
            step.name = format!("Phase {}", step.name.len());
        }
        view
    }
}

/// Shows no other steps than those that the contract names, and one for the whole job.
pub(super) struct FewSteps;

impl Difference for FewSteps {
    fn job(&self, mut view: JobView) -> JobView {
        view.steps.retain(is_fixed);
        let state = if view.state.ended() { StepState::Done } else { StepState::InProgress };
        let took = view.ended.map(|ended| ended.since(view.started));
        let whole = Step {
            name: "everything".to_owned(),
            state,
            started: view.started,
            took,
            note: String::new(),
            progress: None,
        };
        view.steps.insert(0, whole);
        view
    }
}

/// Shows more steps.
pub(super) struct MoreSteps;

impl Difference for MoreSteps {
    fn job(&self, mut view: JobView) -> JobView {
        let step = |name: &str, at| Step {
            name: name.to_owned(),
            state: StepState::Done,
            started: at,
            took: Some(Millis(0)),
            note: "nothing to do".to_owned(),
            progress: Some((Bytes(0), Bytes(0))),
        };
        view.steps.insert(0, step("check prerequisites", view.started));
        if let Some(ended) = view.ended {
            view.steps.push(step("update records", ended));
        }
        view
    }
}

/// Words every message differently.
pub(super) struct OtherWords;

#[async_trait]
impl Difference for OtherWords {
    async fn item(&self, _core: &dyn ReplicationCore, mut view: ItemView) -> ItemView {
        if !view.trouble.is_empty() {
            "DR-1001".clone_into(&mut view.trouble);
        }
        for issue in &mut view.issues {
            "DR-1002".clone_into(&mut issue.what);
        }
        view
    }

    fn job(&self, mut view: JobView) -> JobView {
        for step in &mut view.steps {
            "DR-1003".clone_into(&mut step.note);
        }
        view.error = view.error.map(|error| self.error(error));
        view
    }

    fn error(&self, error: CoreError) -> CoreError {
        CoreError { message: "DR-1004".to_owned(), ..error }
    }
}

/// Lists what has no promised order in another one.
pub(super) struct OtherOrder;

#[async_trait]
impl Difference for OtherOrder {
    async fn item(&self, _core: &dyn ReplicationCore, mut view: ItemView) -> ItemView {
        view.allowed.reverse();
        view.issues.reverse();
        view
    }

    fn items(&self, mut views: Vec<ItemView>) -> Vec<ItemView> {
        views.reverse();
        views
    }

    fn job(&self, mut view: JobView) -> JobView {
        view.actions.reverse();
        view
    }

    fn policies(&self, mut views: Vec<PolicyView>) -> Vec<PolicyView> {
        views.reverse();
        views
    }
}

/// Lists a pair of policies that nobody created.
pub(super) struct DefaultPolicies;

impl Difference for DefaultPolicies {
    fn policies(&self, views: Vec<PolicyView>) -> Vec<PolicyView> {
        let out = Policy::for_machines_of(PlatformKind::Vmware, Millis(300_000));
        let ids = [PolicyId::from("default-failback"), PolicyId::from("default")];
        let view = |(id, counterpart): (&PolicyId, &PolicyId), policy, direction| PolicyView {
            id: id.clone(),
            policy,
            direction,
            counterpart: Some(counterpart.clone()),
            configuration_servers: Vec::new(),
        };
        let back = out.failback().map(|back| view((&ids[0], &ids[1]), back, Direction::RecoveryToPrimary));
        let out = view((&ids[1], &ids[0]), out, Direction::PrimaryToRecovery);
        back.into_iter().chain([out]).chain(views).collect()
    }
}

/// How much a revision rises with each change.
const REVISIONS: u64 = 7;

/// Counts revisions of jobs in larger steps.
pub(super) struct JumpingRevisions;

impl Difference for JumpingRevisions {
    fn job(&self, mut view: JobView) -> JobView {
        view.revision = view.revision * REVISIONS + 3;
        view
    }

    fn inner_revision(&self, revision: u64) -> u64 {
        revision.saturating_sub(3) / REVISIONS
    }
}

/// Shows no progress, and only the last of all resynchronisations.
pub(super) struct NoHistory;

#[async_trait]
impl Difference for NoHistory {
    async fn item(&self, _core: &dyn ReplicationCore, mut view: ItemView) -> ItemView {
        let old = view.resynchronisations.len().saturating_sub(1);
        view.resynchronisations.drain(..old);
        view
    }

    fn job(&self, mut view: JobView) -> JobView {
        view.steps.iter_mut().for_each(|step| step.progress = None);
        view
    }
}

/// Offers the cancellation of a failover among an item's operations while the failover runs.
pub(super) struct CancelOffered;

#[async_trait]
impl Difference for CancelOffered {
    async fn item(&self, core: &dyn ReplicationCore, mut view: ItemView) -> ItemView {
        let Some(job) = &view.job else { return view };
        let kind = core.job(job).await.map(|job| job.kind);
        if matches!(kind, Ok(JobKind::UnplannedFailover | JobKind::PlannedFailover)) {
            view.allowed.push(contract::Operation::CancelFailover);
        }
        view
    }
}

/// Has another name and allows smaller plans.
pub(super) struct SmallPlans;

impl Difference for SmallPlans {
    fn capabilities(&self, all: Capabilities) -> Capabilities {
        Capabilities { plans: PlanLimits { groups: 4, items: 20 }, ..all }
    }
}

/// Has another name and another version.
pub(super) struct OtherName;

impl Difference for OtherName {
    fn capabilities(&self, all: Capabilities) -> Capabilities {
        Capabilities { name: "Another Core 3.1 (build 77)".to_owned(), ..all }
    }
}
