//! Everything a scenario works with, and how it is taken down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use contract::{
    DataSync, Direction, ItemId, JobId, JobState, JobView, MachineId, Platform, ReplicationCore,
    ReprotectRequest, SiteId, StepState,
};
use harness::host::Host;
use harness::reaper;
use harness::scratch::Scratch;
use standins::StandInSite;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::core_under_test::{self, CoreClock, CoreParts, CoreUnderTest};
use crate::disks;
use crate::evidence::Evidence;
use crate::mutants::InjectedFault;
use crate::outcome::{EdgeOutcome, LeftDisk, ScenarioOutcome};
use crate::real::environment::{ScenarioRun, TestEnvironment};
use crate::rules::ids::*;
use crate::rules::{RuleId, RuleLog};
use crate::scenario::{Scenario, Script};

/// How long a guest may take from power-on to its witness's hello.
pub(crate) const BOOT_WITHIN: Duration = Duration::from_secs(120);
/// How long a job of the core may take.
pub(crate) const JOB_WITHIN: Duration = Duration::from_secs(300);

/// Everything a scenario works with.
pub(crate) struct ScenarioContext {
    pub(crate) context: RunContext,
    pub(crate) script: Script,
    pub(crate) data_sync: Option<DataSync>,
    pub(crate) at_rest: bool,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) image: images::Image,
    pub(crate) primary: Arc<StandInSite>,
    pub(crate) recovery: Arc<StandInSite>,
    /// Where the machine comes back to, if not to where it came from.
    pub(crate) home: Option<Arc<StandInSite>>,
    pub(crate) core: Arc<dyn ReplicationCore>,
    pub(crate) item: ItemId,
    pub(crate) machine: MachineId,
    findings: Arc<Mutex<Findings>>,
    /// Every stand-in of the scenario by its name, the two sides among them.
    stand_ins: Vec<(String, Arc<StandInSite>)>,
    fault: InjectedFault,
    core_name: String,
    host: Host,
    scratch: Arc<Scratch>,
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) rules: RuleLog,
    pub(crate) edges: Vec<EdgeOutcome>,
    pub(crate) trace: Vec<String>,
    /// Volumes looked at as files.
    pub(crate) disks_left: Vec<LeftDisk>,
    /// What took longer than its bound.
    pub(crate) slow: Vec<String>,
    /// Milliseconds from power-on to hello of each boot, in order.
    pub(crate) boots_ms: Vec<u64>,
}

impl ScenarioContext {
    /// Finds the image and the accelerator, opens both sites and the core.
    ///
    /// # Errors
    /// Something is missing on this host, or the scenario's words are unknown.
    pub async fn open(
        context: &RunContext,
        scenario: &Scenario,
        evidence: &Arc<Evidence>,
    ) -> Result<Self, ScenarioError> {
        let stage = TestEnvironment::open(context, evidence).await?;
        let mut stand_ins = Vec::new();
        for name in
            [&scenario.source, &scenario.target].into_iter().chain(&scenario.home).chain(&scenario.also)
        {
            stand_ins.push((name.clone(), stage.site(name).await?));
        }
        let (primary, recovery) = (Arc::clone(&stand_ins[0].1), Arc::clone(&stand_ins[1].1));
        let home = scenario.home.as_ref().map(|_| Arc::clone(&stand_ins[2].1));
        let fault = InjectedFault::for_edges(context.mutant.as_deref(), &scenario.edges)
            .map_err(|error| ScenarioError::Inconclusive(format!("{}: {error}", scenario.name)))?;
        let sites: Vec<_> = stand_ins.iter().map(|(name, site)| (name.as_str(), site)).collect();
        let CoreUnderTest { core, capabilities } =
            open_capable_core(evidence, &fault, &sites, scenario).await?;
        let core_name = capabilities.name;
        Ok(Self {
            context: context.clone(),
            script: scenario.script,
            data_sync: scenario.data_sync,
            at_rest: scenario.at_rest,
            evidence: Arc::clone(evidence),
            image: stage.image,
            primary,
            recovery,
            home,
            core,
            item: ItemId::from("shop"),
            machine: MachineId::from("shop"),
            findings: Arc::default(),
            stand_ins,
            fault,
            core_name,
            host: stage.host,
            scratch: stage.scratch,
        })
    }

    /// The same world seen from another machine in it, with findings of its own.
    pub(crate) fn member(&self, name: &str) -> Self {
        let (item, machine) = (ItemId::from(name), MachineId::from(name));
        Self { item, machine, findings: Arc::default(), ..self.seen_again() }
    }

    /// The same world seen from a machine that goes from one of its stand-ins to another.
    ///
    /// # Errors
    /// The scenario has no such stand-in.
    pub(crate) fn between(&self, source: &str, target: &str, name: &str) -> Result<Self, ScenarioError> {
        let find = |wanted: &str| {
            let found = self.stand_ins.iter().find(|(name, _)| name == wanted);
            let found = found.map(|(_, site)| Arc::clone(site));
            found.ok_or_else(|| {
                ScenarioError::Inconclusive(format!("the scenario's row names no stand-in {wanted}"))
            })
        };
        Ok(Self { primary: find(source)?, recovery: find(target)?, ..self.member(name) })
    }

    /// The same world once the machine is at home where it comes back to: that site is the primary one then.
    pub(crate) fn at_home(&self) -> Self {
        let primary = self.home.as_ref().unwrap_or(&self.primary);
        Self { primary: Arc::clone(primary), ..self.seen_again() }
    }

    fn seen_again(&self) -> Self {
        Self {
            context: self.context.clone(),
            script: self.script,
            data_sync: self.data_sync,
            at_rest: self.at_rest,
            evidence: Arc::clone(&self.evidence),
            image: self.image.clone(),
            primary: Arc::clone(&self.primary),
            recovery: Arc::clone(&self.recovery),
            home: self.home.clone(),
            core: Arc::clone(&self.core),
            item: self.item.clone(),
            machine: self.machine.clone(),
            findings: Arc::clone(&self.findings),
            stand_ins: self.stand_ins.clone(),
            fault: self.fault.clone(),
            core_name: self.core_name.clone(),
            host: self.host.clone(),
            scratch: Arc::clone(&self.scratch),
        }
    }

    /// Takes over what was noted of another machine.
    pub(crate) fn merge_findings(&self, member: &Self) {
        let theirs = std::mem::take(&mut *member.findings());
        let mut findings = self.findings();
        theirs.rules.into_outcomes().into_iter().for_each(|rule| findings.rules.add(rule));
        findings.edges.extend(theirs.edges);
        findings.trace.extend(theirs.trace.into_iter().map(|line| format!("{}: {line}", member.machine)));
        findings.slow.extend(theirs.slow);
        findings.boots_ms.extend(theirs.boots_ms);
    }

    /// Directory of an edge's evidence; a later cycle over the same machines gets one of its own.
    pub(crate) fn edge_dir(&self, edge: &str) -> Result<Utf8PathBuf, ScenarioError> {
        let number = self.findings().edges.len() + 1;
        let dir = self.evidence.dir().join("edges").join(format!("{number}-{edge}"));
        std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
        Ok(dir)
    }

    /// A reprotection as a user would confirm it: with what the sites' infrastructure offers first (RE-25, IN-03).
    pub(crate) async fn reprotection(&self, direction: Direction) -> Result<ReprotectRequest, ScenarioError> {
        let (from, to) = match direction {
            Direction::PrimaryToRecovery => (&self.primary, &self.recovery),
            Direction::RecoveryToPrimary => (&self.recovery, &self.primary),
        };
        let failback_site = match (direction, &self.home) {
            (Direction::RecoveryToPrimary, Some(home)) => Some(home.site().await?.id),
            _ => None,
        };
        let (from, to) = (from.infrastructure().await?, to.infrastructure().await?);
        let request = ReprotectRequest::new(&self.item, direction).with_defaults(&from, &to);
        Ok(ReprotectRequest { failback_site, ..request })
    }

    /// Where what no evidence shall keep is put, and taken down with the run.
    pub(crate) fn scratch_dir(&self) -> &Utf8Path {
        self.scratch.path()
    }

    /// Every site.
    fn sites(&self) -> impl Iterator<Item = &Arc<StandInSite>> {
        self.stand_ins.iter().map(|(_, site)| site)
    }

    /// An edge begins: a fault planned for it goes to work.
    pub(crate) fn enter(&self, edge: &str) {
        self.fault.begin_edge(edge);
    }

    /// What was found so far. Never held over a wait.
    pub(crate) fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records whether a rule held.
    pub(crate) fn check(&self, rule: RuleId, held: bool, found: impl Into<String>) {
        self.findings().rules.check(rule, held, found);
    }

    /// Looks at every volume of a site that no running machine has open: is the file whole, and what it is called?
    pub(crate) async fn inspect_disks(&self, site: &StandInSite, when: &str) -> Result<(), ScenarioError> {
        let found = disks::inspect(site, when).await?;
        self.findings().disks_left.extend(found);
        Ok(())
    }

    /// ST-02, ST-03 over all volumes that were looked at.
    pub(crate) fn expect_whole_disks(&self) {
        let mut findings = self.findings();
        let Findings { rules, disks_left, .. } = &mut *findings;
        disks::expect(rules, disks_left);
    }

    /// Adds a line to the order of things.
    pub(crate) fn trace(&self, line: impl Into<String>) {
        self.findings().trace.push(line.into());
    }

    /// Traces the item's state.
    pub(crate) async fn trace_state(&self) -> Result<(), ScenarioError> {
        let view = self.core.item(&self.item).await?;
        let state = word(&view.protection.phase);
        self.trace(format!("state: {state}, active {}", word(&view.protection.active)));
        Ok(())
    }

    /// Follows a job to its end; each step is shown as it runs.
    ///
    /// # Errors
    /// The job failed or did not end: a violation.
    pub(crate) async fn follow(&self, edge: &str, job: &JobId) -> Result<JobView, ScenarioError> {
        let follow = async {
            let mut seen = self.core.job(job).await?;
            while !seen.state.ended() {
                let running = seen.steps.last().map(|step| step.name.clone());
                let shown = running.as_deref().map(|name| self.evidence.step(edge, name));
                let step = seen.steps.len();
                while !seen.state.ended() && seen.steps.len() == step {
                    seen = self.core.watch_job(job, seen.revision).await?;
                    if let Some((step, (done, whole))) =
                        seen.steps.last().and_then(|s| Some((s, s.progress?)))
                    {
                        self.evidence.progress(edge, &step.name, done.0, whole.0, "bytes");
                    }
                }
                if let Some(shown) = shown
                    && seen.state != JobState::Failed
                {
                    shown.done();
                }
            }
            Ok::<_, ScenarioError>(seen)
        };
        let ended = tokio::time::timeout(JOB_WITHIN, follow).await;
        let ended = ended.map_err(|_| {
            ScenarioError::CoreViolation(format!("{edge}: job {job} did not end in {JOB_WITHIN:?}"))
        })??;
        for step in &ended.steps {
            self.trace(format!("{edge}: {} step `{}` {}", word(&ended.kind), step.name, word(&step.state)));
        }
        self.check_job(&ended);
        match &ended.error {
            Some(error) => Err(ScenarioError::CoreViolation(format!(
                "{edge}: the core's {} job failed: {error}",
                word(&ended.kind)
            ))),
            None => Ok(ended),
        }
    }

    /// JO-01, FO-14, LC-08: each operation is a job that tells kind, direction and steps.
    fn check_job(&self, job: &JobView) {
        let told = job.steps.iter().all(|step| step.state != StepState::InProgress && step.took.is_some());
        let found = format!("{}: {} steps, all ended and timed: {told}", word(&job.kind), job.steps.len());
        self.check(JO_01, told && job.ended.is_some() && !job.steps.is_empty(), found);
    }
}

#[async_trait]
impl ScenarioRun for ScenarioContext {
    async fn run(&self) -> Result<(), ScenarioError> {
        super::run(self).await
    }

    async fn record(&self, outcome: &mut ScenarioOutcome) {
        let findings = std::mem::take(&mut *self.findings());
        outcome.core.clone_from(&self.core_name);
        outcome.boots_ms = findings.boots_ms;
        outcome.edges = findings.edges;
        outcome.trace = findings.trace;
        outcome.slow = findings.slow;
        outcome.disks_left = findings.disks_left;
        outcome.remarks = self.sites().flat_map(|site| site.remarks()).collect();
        outcome.rules = findings.rules.into_outcomes();
    }

    /// Stops the core and takes both sites down; with `--keep`, a failed scenario's guests stay.
    async fn close(&self, failed: bool) -> Result<(), ScenarioError> {
        let mut first = Ok(());
        for site in self.sites() {
            // With a fault still at work a core could not close what it has open.
            first = first.and(site.heal().await.map_err(ScenarioError::from));
        }
        first = first.and(self.core.close().await.map_err(ScenarioError::from));
        if failed && self.context.keep {
            reaper::keep(self.scratch.path())?;
            self.scratch.keep();
            println!(
                "kept: `virsh -c {} list` shows the guests; sockets in {}; `cargo xtask clean` removes them",
                self.host.uri(),
                self.scratch.path()
            );
            return first;
        }
        for site in self.sites() {
            first = first.and(site.close().await.map_err(ScenarioError::from));
        }
        first
    }
}

/// Opens the core under test for a scenario, whose operations it must have.
async fn open_capable_core(
    evidence: &Evidence,
    fault: &InjectedFault,
    sites: &[(&str, &Arc<StandInSite>)],
    scenario: &Scenario,
) -> Result<CoreUnderTest, ScenarioError> {
    let core = CoreUnderTest::query(open_core(evidence, fault, sites)?).await?;
    match core.lacks(core_under_test::needed_by(scenario.script)) {
        None => Ok(core),
        Some(operation) => Err(ScenarioError::Inconclusive(format!(
            "skipped: {} does not have the operation `{}`",
            core.capabilities.name,
            word(&operation)
        ))),
    }
}

/// Opens the core under test on `sites`, with a fault injected if one was asked for.
pub(crate) fn open_core(
    evidence: &Evidence,
    fault: &InjectedFault,
    sites: &[(&str, &Arc<StandInSite>)],
) -> Result<Arc<dyn ReplicationCore>, ScenarioError> {
    let platforms = sites
        .iter()
        .map(|(name, site)| (SiteId::from(*name), Arc::clone(site) as Arc<dyn Platform>))
        .collect();
    let dir = evidence.dir().join("core").into_std_path_buf();
    let parts = CoreParts { platforms, dir, clock: CoreClock::System };
    core_under_test::open(parts, fault).map_err(|error| ScenarioError::Inconclusive(error.to_string()))
}

/// The word by which a value is written in JSON.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}
