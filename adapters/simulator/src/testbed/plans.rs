//! Recovery plans over several machines of a testbed.

use std::path::{Path, PathBuf};

use contract::{
    ActionWork, Direction, FailoverKind, JobFilter, JobId, JobView, Millis, Network, PlanAction,
    PlanFailoverRequest, PlanGroup, PlanId, PlanReprotectRequest, PlanState, PlanTestFailoverRequest,
    PointChoice, RecoveryPlan, ScriptContext,
};
use tempdirs::OwnedDir;

use super::{BACK, OUT, Testbed, TestbedError, item_of};
use crate::SimSite;

/// Name of the plan.
pub const PLAN: &str = "shop";

/// Id of the plan.
#[must_use]
pub fn plan_id() -> PlanId {
    PLAN.into()
}

/// A group of machines without actions.
#[must_use]
pub fn group(machines: &[&str]) -> PlanGroup {
    PlanGroup { items: machines.iter().map(|machine| item_of(machine)).collect(), ..PlanGroup::default() }
}

/// The plan with these groups.
#[must_use]
pub fn plan(groups: &[PlanGroup]) -> RecoveryPlan {
    RecoveryPlan { id: plan_id(), groups: groups.to_vec() }
}

/// An action for every failover type and direction.
#[must_use]
pub fn action(name: &str, work: ActionWork) -> PlanAction {
    PlanAction { name: name.to_owned(), types: Vec::new(), directions: Vec::new(), work }
}

/// An action that runs a shell script, to which `$0` is the path of a file.
#[must_use]
pub fn shell(name: &str, script: &str, file: &Path) -> PlanAction {
    let arguments = vec!["-c".to_owned(), script.to_owned(), file.display().to_string()];
    action(name, ActionWork::Script { program: "sh".to_owned(), arguments, timeout: Millis(60_000) })
}

/// An action that a person does.
#[must_use]
pub fn manual(name: &str) -> PlanAction {
    action(name, ActionWork::Manual { instruction: format!("please {name}") })
}

/// A directory in which scripts write down the contexts that the core gives them.
pub struct ScriptNotes(OwnedDir);

impl ScriptNotes {
    /// Makes the directory.
    ///
    /// # Errors
    /// The host has no room for it.
    pub fn new() -> Result<Self, TestbedError> {
        let dir = OwnedDir::new("scripts");
        dir.map(Self).map_err(|error| TestbedError::host("make a directory for scripts", error))
    }

    /// A script that writes down its context.
    #[must_use]
    pub fn script(&self, name: &str) -> PlanAction {
        shell(name, r#"cat >> "$0"; echo >> "$0""#, &self.path("notes"))
    }

    /// Path of a file in the directory that no script has made yet.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes an empty file.
    ///
    /// # Errors
    /// The host cannot.
    pub fn make_file(&self, name: &str) -> Result<(), TestbedError> {
        let made = std::fs::write(self.path(name), "");
        made.map_err(|error| TestbedError::host(format!("make the file {name}"), error))
    }

    /// The contexts that scripts have written down so far, oldest first.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn read(&self) -> Result<Vec<ScriptContext>, TestbedError> {
        let text = std::fs::read_to_string(self.path("notes")).unwrap_or_default();
        let parse = |line: &str| {
            serde_json::from_str(line).map_err(|error| TestbedError::BadScriptContext {
                line: line.to_owned(),
                reason: error.to_string(),
            })
        };
        text.lines().map(parse).collect()
    }
}

/// The request for an unplanned failover of the plan to the latest points, without a shutdown of
/// the sources.
#[must_use]
pub fn failover_plan_request(direction: Direction) -> PlanFailoverRequest {
    PlanFailoverRequest {
        plan: plan_id(),
        kind: FailoverKind::Unplanned,
        direction,
        point: PointChoice::Latest,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
    }
}

/// The request for an unplanned failover of the plan out of the primary site to these points.
#[must_use]
pub fn failover_plan_to(point: PointChoice) -> PlanFailoverRequest {
    PlanFailoverRequest { point, ..failover_plan_request(OUT) }
}

/// The request for a planned failover of the plan.
#[must_use]
pub fn planned_failover_plan_request(direction: Direction) -> PlanFailoverRequest {
    let kind = FailoverKind::Planned;
    PlanFailoverRequest { kind, shut_down_source: true, ..failover_plan_request(direction) }
}

/// The request for a test failover of the plan in an isolated network.
#[must_use]
pub fn test_failover_plan_request() -> PlanTestFailoverRequest {
    PlanTestFailoverRequest { plan: plan_id(), point: PointChoice::Latest, network: Network::Isolated }
}

impl Testbed {
    /// Installs and protects machines, and waits until each has two points and no transfer is due.
    ///
    /// # Errors
    /// Protection does not begin, or no points come.
    pub async fn protect_all(&self, machines: &[&str]) -> Result<(), TestbedError> {
        for machine in machines {
            self.protect(machine).await?;
        }
        for machine in machines {
            self.wait_for_points(&item_of(machine), 2).await?;
        }
        self.wait_until_idle().await
    }

    /// Creates the plan with these groups.
    ///
    /// # Errors
    /// The core refuses it.
    pub async fn create_plan(&self, groups: &[PlanGroup]) -> Result<(), TestbedError> {
        Ok(self.core.create_plan(&plan(groups)).await?)
    }

    /// The request to reprotect these machines through the plan, with the components that the sites
    /// offer first.
    #[must_use]
    pub fn plan_reprotection(&self, direction: Direction, machines: &[&str]) -> PlanReprotectRequest {
        let settings = machines.iter().map(|machine| self.reprotection(&item_of(machine), direction));
        PlanReprotectRequest { plan: plan_id(), direction, settings: settings.collect() }
    }

    /// Fails these machines over through the plan, in either direction.
    ///
    /// # Errors
    /// The failover does not succeed, takes a machine to another point than was asked for, or
    /// starts a machine that has not what its point must have.
    pub async fn fail_over_plan(
        &self,
        request: &PlanFailoverRequest,
        machines: &[&str],
    ) -> Result<JobView, TestbedError> {
        let mut before = Vec::new();
        for machine in machines {
            before.push(self.item(&item_of(machine)).await?);
        }
        let job = self.completed(self.core.failover_plan(request).await).await?;
        for item in &before {
            self.check_recovery_in_plan(item, &before, &request.point).await?;
        }
        Ok(job)
    }

    /// The jobs that a plan's job started for its machines.
    ///
    /// # Errors
    /// The core does not list them.
    pub async fn child_jobs(&self, job: &JobId) -> Result<Vec<JobView>, TestbedError> {
        let filter = JobFilter { parent: Some(job.clone()), ..JobFilter::default() };
        Ok(self.core.jobs(&filter).await?)
    }

    /// Commits the plan.
    ///
    /// # Errors
    /// The commit does not succeed.
    pub async fn commit_plan(&self) -> Result<JobView, TestbedError> {
        self.completed(self.core.commit_plan(&plan_id()).await).await
    }

    /// Commits the plan, replicates its machines back, and waits until each has two points.
    ///
    /// # Errors
    /// Commit or reprotection do not succeed, or no points come.
    pub async fn commit_and_reprotect_plan(&self, machines: &[&str]) -> Result<(), TestbedError> {
        self.commit_plan().await?;
        let request = self.plan_reprotection(BACK, machines);
        self.completed(self.core.reprotect_plan(&request).await).await?;
        for machine in machines {
            self.wait_for_points(&item_of(machine), 2).await?;
        }
        Ok(())
    }
}

/// The machines that a site was asked to start, in order.
#[must_use]
pub fn machines_started(site: &SimSite) -> Vec<String> {
    let starts = site.trace().into_iter().filter(|event| event.what.starts_with("Start:"));
    starts.map(|event| event.subject).collect()
}

/// How far each machine of a plan's job has come.
#[must_use]
pub fn member_states(job: &JobView) -> Vec<(&str, PlanState)> {
    let members = job.plan.iter().flat_map(|plan| &plan.members);
    members.map(|member| (member.item.0.trim_start_matches("item-"), member.state)).collect()
}
