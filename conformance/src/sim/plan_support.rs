//! Several machines, plans over them, and what stories ask of both.

use std::path::Path;

use contract::{
    ActionWork, Direction, FailoverKind, ItemId, JobFilter, JobId, JobView, Millis, Network, PlanAction,
    PlanFailoverRequest, PlanGroup, PlanId, PlanReprotectRequest, PlanState, PlanTestFailoverRequest,
    PointChoice, RecoveryPlan, ScriptContext,
};
use simulator::SimSite;
use tempfile::TempDir;

use crate::sim::said;
use crate::sim::testbed::Testbed;

/// Name of every plan.
pub(crate) const PLAN: &str = "shop";
pub(crate) const OUT: Direction = Direction::PrimaryToRecovery;
pub(crate) const BACK: Direction = Direction::RecoveryToPrimary;

/// The item of a machine.
pub(crate) fn item(machine: &str) -> ItemId {
    ItemId(format!("item-{machine}"))
}

pub(crate) fn plan_id() -> PlanId {
    PLAN.into()
}

pub(crate) fn group(machines: &[&str]) -> PlanGroup {
    PlanGroup { items: machines.iter().map(|machine| item(machine)).collect(), ..PlanGroup::default() }
}

pub(crate) fn plan(groups: &[PlanGroup]) -> RecoveryPlan {
    RecoveryPlan { id: PLAN.into(), groups: groups.to_vec() }
}

fn action(name: &str, work: ActionWork) -> PlanAction {
    PlanAction { name: name.to_owned(), types: Vec::new(), directions: Vec::new(), work }
}

/// Runs lines of a shell, with the path of a file as `$0`.
pub(crate) fn shell(name: &str, lines: &str, file: &Path) -> PlanAction {
    let arguments = vec!["-c".to_owned(), lines.to_owned(), file.display().to_string()];
    action(name, ActionWork::Script { program: "sh".to_owned(), arguments, timeout: Millis(60_000) })
}

/// Something that a person does.
pub(crate) fn manual(name: &str) -> PlanAction {
    action(name, ActionWork::Manual { instruction: format!("please {name}") })
}

/// Where scripts write down what they were told, a line each.
pub(crate) struct Notes(TempDir);

impl Notes {
    pub(crate) fn new() -> Result<Self, String> {
        tempfile::tempdir().map(Self).map_err(|error| error.to_string())
    }

    /// A script that writes down its context.
    pub(crate) fn script(&self, name: &str) -> PlanAction {
        shell(name, r#"cat >> "$0"; echo >> "$0""#, &self.0.path().join("notes"))
    }

    /// A file that no script has made.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// What was written so far.
    pub(crate) fn read(&self) -> Result<Vec<ScriptContext>, String> {
        let text = std::fs::read_to_string(self.path("notes")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).map_err(|error| format!("{line}: {error}")))
            .collect()
    }
}

pub(crate) fn failover(direction: Direction) -> PlanFailoverRequest {
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

pub(crate) fn planned(direction: Direction) -> PlanFailoverRequest {
    PlanFailoverRequest { kind: FailoverKind::Planned, shut_down_source: true, ..failover(direction) }
}

pub(crate) fn to(point: PointChoice) -> PlanFailoverRequest {
    PlanFailoverRequest { point, ..failover(OUT) }
}

pub(crate) fn test() -> PlanTestFailoverRequest {
    PlanTestFailoverRequest { plan: PLAN.into(), point: PointChoice::Latest, network: Network::Isolated }
}

impl Testbed {
    /// Protects machines and waits until each has points.
    pub(crate) async fn protect_all(&self, machines: &[&str]) -> Result<(), String> {
        for machine in machines {
            self.protect(machine).await?;
        }
        for machine in machines {
            self.points(&item(machine), 2).await?;
        }
        self.quiet().await
    }

    pub(crate) async fn make_plan(&self, groups: &[PlanGroup]) -> Result<(), String> {
        self.core.create_plan(&plan(groups)).await.map_err(said)
    }

    /// Every machine of the plan, with what the sites offer first.
    pub(crate) fn plan_reprotection(&self, direction: Direction, machines: &[&str]) -> PlanReprotectRequest {
        let settings = machines.iter().map(|machine| match direction {
            Direction::PrimaryToRecovery => self.way_out(&item(machine), &self.primary),
            Direction::RecoveryToPrimary => self.way_back(&item(machine), &self.primary),
        });
        PlanReprotectRequest { plan: PLAN.into(), direction, settings: settings.collect() }
    }

    /// Jobs of the plan's machines below one of its own.
    pub(crate) async fn below(&self, job: &JobId) -> Result<Vec<JobView>, String> {
        let filter = JobFilter { parent: Some(job.clone()), ..JobFilter::default() };
        self.core.jobs(&filter).await.map_err(said)
    }

    /// Commits the plan and replicates its machines home.
    pub(crate) async fn commit_and_reprotect_plan(&self, machines: &[&str]) -> Result<(), String> {
        self.completed(self.core.commit_plan(&plan_id()).await).await?;
        let wanted = self.plan_reprotection(BACK, machines);
        self.completed(self.core.reprotect_plan(&wanted).await).await?;
        for machine in machines {
            self.points(&item(machine), 2).await?;
        }
        Ok(())
    }
}

/// Machines in the order in which a site was told to start them.
pub(crate) fn started(site: &SimSite) -> Vec<String> {
    let trace = site.trace().into_iter().filter(|event| event.what.starts_with("Start:"));
    trace.map(|event| event.subject).collect()
}

/// How far each machine of a plan's job has come.
pub(crate) fn states(job: &JobView) -> Vec<(&str, PlanState)> {
    let members = job.plan.iter().flat_map(|plan| &plan.members);
    members.map(|member| (member.item.0.trim_start_matches("item-"), member.state)).collect()
}
