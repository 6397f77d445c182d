//! Several machines, plans over them, and what tests ask of both.

use std::path::Path;

use contract::{
    ActionWork, Direction, FailoverKind, ItemId, JobFilter, JobId, JobState, JobView, Millis, Network,
    PlanAction, PlanFailoverRequest, PlanGroup, PlanReprotectRequest, PlanState, PlanTestFailoverRequest,
    PointChoice, RecoveryPlan, ReplicationCore, ScriptContext,
};
use replication::Core;
use simulator::{SimConfig, SimProfile, SimSite, SimWorld};
use tempfile::TempDir;

use crate::support::{Pair, dr, exact, is_up, reprotection};

pub const BOOT: Millis = Millis(10_000);
pub const PLAN: &str = "shop";

pub fn hyperv(world: SimWorld) -> Pair {
    let primary = world.site(SimConfig::new("primary", SimProfile::HYPERV));
    let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
    Pair::of(world, primary, recovery)
}

/// The item of a machine.
pub fn item(machine: &str) -> ItemId {
    ItemId(format!("item-{machine}"))
}

/// Protects machines and waits until each has points.
pub async fn protect(pair: &Pair, machines: &[&str]) {
    for machine in machines {
        pair.protect(machine).await;
    }
    for machine in machines {
        pair.points(&item(machine), 2).await.unwrap();
    }
    pair.world.settle().await;
}

pub fn group(machines: &[&str]) -> PlanGroup {
    PlanGroup { items: machines.iter().map(|machine| item(machine)).collect(), ..PlanGroup::default() }
}

pub fn plan(groups: &[PlanGroup]) -> RecoveryPlan {
    RecoveryPlan { id: PLAN.into(), groups: groups.to_vec() }
}

pub fn action(name: &str, work: ActionWork) -> PlanAction {
    PlanAction { name: name.to_owned(), types: Vec::new(), directions: Vec::new(), work }
}

/// Runs lines of a shell, with the path of a file as `$0`.
pub fn shell(name: &str, lines: &str, file: &Path) -> PlanAction {
    let arguments = vec!["-c".to_owned(), lines.to_owned(), file.display().to_string()];
    action(name, ActionWork::Script { program: "sh".to_owned(), arguments, timeout: Millis(60_000) })
}

pub fn manual(name: &str) -> PlanAction {
    action(name, ActionWork::Manual { instruction: format!("please {name}") })
}

/// Where scripts write down what they were told, a line each.
pub struct Notes(TempDir);

impl Notes {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A script that writes down its context.
    pub fn script(&self, name: &str) -> PlanAction {
        shell(name, r#"cat >> "$0"; echo >> "$0""#, &self.0.path().join("notes"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn read(&self) -> Vec<ScriptContext> {
        let text = std::fs::read_to_string(self.0.path().join("notes")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub fn failover(direction: Direction) -> PlanFailoverRequest {
    PlanFailoverRequest {
        plan: PLAN.into(),
        kind: FailoverKind::Unplanned,
        direction,
        point: PointChoice::Latest,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
    }
}

pub fn planned(direction: Direction) -> PlanFailoverRequest {
    PlanFailoverRequest { kind: FailoverKind::Planned, shut_down_source: true, ..failover(direction) }
}

pub fn test_failover_request() -> PlanTestFailoverRequest {
    PlanTestFailoverRequest { plan: PLAN.into(), point: PointChoice::Latest, network: Network::Isolated }
}

/// Every machine of the plan with what sites have to begin with.
pub async fn reprotect(core: &Core, direction: Direction) -> PlanReprotectRequest {
    let plans = core.plans().await.unwrap();
    let members = plans.iter().filter(|plan| plan.id.0 == PLAN).flat_map(|plan| &plan.groups);
    let settings = members.flat_map(|group| &group.items).map(|item| reprotection(item, direction));
    PlanReprotectRequest { plan: PLAN.into(), direction, settings: settings.collect() }
}

/// Follows a job until it stands so.
pub async fn until(pair: &Pair, job: &JobId, state: JobState) -> JobView {
    let mut view = pair.core.job(job).await.unwrap();
    while view.state != state {
        assert!(!view.state.ended(), "{view:#?}");
        view = pair.core.watch_job(job, view.revision).await.unwrap();
    }
    view
}

/// Jobs of the plan's machines below one of its own.
pub async fn children(pair: &Pair, job: &JobId) -> Vec<JobView> {
    pair.core.jobs(&JobFilter { parent: Some(job.clone()), ..JobFilter::default() }).await.unwrap()
}

/// Machines in the order in which a site was told to start them.
pub fn started(site: &SimSite) -> Vec<String> {
    let trace = site.trace().into_iter().filter(|event| event.what.starts_with("Start:"));
    trace.map(|event| event.subject).collect()
}

/// How far each machine of a plan's job has come.
pub fn states(job: &JobView) -> Vec<(&str, PlanState)> {
    let members = &job.plan.as_ref().unwrap().members;
    members.iter().map(|member| (member.item.0.trim_start_matches("item-"), member.state)).collect()
}

/// Asserts that a machine runs on the recovery side with an exact prefix of what its source wrote.
pub fn recovered(pair: &Pair, machine: &str) {
    let source = pair.primary.last_boot(&machine.into()).unwrap();
    let target = pair.recovery.last_boot(&dr(machine)).unwrap();
    let (_, record) = exact(&source, &target);
    is_up(&pair.recovery, &target, record);
}

/// The same for one that came back, with nothing lost.
pub fn came_back(pair: &Pair, machine: &str) {
    let source = pair.recovery.last_boot(&dr(machine)).unwrap();
    let target = pair.primary.last_boot(&machine.into()).unwrap();
    let (writes, record) = exact(&source, &target);
    assert_eq!(writes, source.log().len());
    is_up(&pair.primary, &target, record);
}
