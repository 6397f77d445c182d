//! Everything a scenario works with, and how it is taken down.

use std::collections::BTreeMap;
use std::sync::Arc;
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
use tokio::sync::Mutex;

use crate::context::RunContext;
use crate::disks;
use crate::evidence::Evidence;
use crate::mutants::{self, Planned};
use crate::outcome::{EdgeOutcome, LeftDisk, ScenarioOutcome};
use crate::real::environment::{ScenarioRun, TestEnvironment};
use crate::real::error::ScenarioError;
use crate::rules::RuleLog;
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
    pub(crate) notes: Arc<Mutex<Findings>>,
    /// Every stand-in of the scenario by its name, the two sides among them.
    stand_ins: Vec<(String, Arc<StandInSite>)>,
    mutant: Option<Arc<Planned>>,
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
        let mutant = plan_mutant(context, scenario)?;
        let sites: Vec<_> = stand_ins.iter().map(|(name, site)| (name.as_str(), site)).collect();
        let core = open_core(evidence, mutant.clone(), &sites)?;
        let core_name = core.capabilities().await?.name;
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
            notes: Arc::default(),
            stand_ins,
            mutant,
            core_name,
            host: stage.host,
            scratch: stage.scratch,
        })
    }

    /// The same world seen from another machine in it, with notes of its own.
    pub(crate) fn member(&self, name: &str) -> Self {
        let (item, machine) = (ItemId::from(name), MachineId::from(name));
        Self { item, machine, notes: Arc::default(), ..self.seen_again() }
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
            notes: Arc::clone(&self.notes),
            stand_ins: self.stand_ins.clone(),
            mutant: self.mutant.clone(),
            core_name: self.core_name.clone(),
            host: self.host.clone(),
            scratch: Arc::clone(&self.scratch),
        }
    }

    /// Takes over what was noted of another machine.
    pub(crate) async fn absorb(&self, member: &Self) {
        let theirs = std::mem::take(&mut *member.notes.lock().await);
        let mut notes = self.notes.lock().await;
        theirs.rules.into_outcomes().into_iter().for_each(|rule| notes.rules.add(rule));
        notes.edges.extend(theirs.edges);
        notes.trace.extend(theirs.trace.into_iter().map(|line| format!("{}: {line}", member.machine)));
        notes.slow.extend(theirs.slow);
        notes.boots_ms.extend(theirs.boots_ms);
    }

    /// Directory of an edge's evidence; a later cycle over the same machines gets one of its own.
    pub(crate) async fn edge_dir(&self, edge: &str) -> Result<Utf8PathBuf, ScenarioError> {
        let number = self.notes.lock().await.edges.len() + 1;
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
        if let Some(mutant) = &self.mutant {
            mutant.enter(edge);
        }
    }

    /// Records whether a rule held.
    pub(crate) async fn expect(&self, rule: &str, held: bool, found: impl Into<String>) {
        self.notes.lock().await.rules.expect(rule, held, found);
    }

    /// Looks at every volume of a site that no running machine has open: is the file whole, and what it is called?
    pub(crate) async fn inspect_disks(&self, site: &StandInSite, when: &str) -> Result<(), ScenarioError> {
        let found = disks::inspect(site, when).await?;
        self.notes.lock().await.disks_left.extend(found);
        Ok(())
    }

    /// ST-02, ST-03 over all volumes that were looked at.
    pub(crate) async fn expect_whole_disks(&self) {
        let mut notes = self.notes.lock().await;
        let Findings { rules, disks_left, .. } = &mut *notes;
        disks::expect(rules, disks_left);
    }

    /// Adds a line to the order of things.
    pub(crate) async fn trace(&self, line: impl Into<String>) {
        self.notes.lock().await.trace.push(line.into());
    }

    /// Traces the item's state.
    pub(crate) async fn trace_state(&self) -> Result<(), ScenarioError> {
        let view = self.core.item(&self.item).await?;
        let state = word(&view.protection.phase);
        self.trace(format!("state: {state}, active {}", word(&view.protection.active))).await;
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
            self.trace(format!("{edge}: {} step `{}` {}", word(&ended.kind), step.name, word(&step.state)))
                .await;
        }
        self.check_job(&ended).await;
        match &ended.error {
            Some(error) => Err(ScenarioError::CoreViolation(format!(
                "{edge}: the core's {} job failed: {error}",
                word(&ended.kind)
            ))),
            None => Ok(ended),
        }
    }

    /// JO-01, FO-14, LC-08: each operation is a job that tells kind, direction and steps.
    async fn check_job(&self, job: &JobView) {
        let told = job.steps.iter().all(|step| step.state != StepState::InProgress && step.took.is_some());
        let found = format!("{}: {} steps, all ended and timed: {told}", word(&job.kind), job.steps.len());
        self.expect("JO-01", told && job.ended.is_some() && !job.steps.is_empty(), found).await;
    }
}

#[async_trait]
impl ScenarioRun for ScenarioContext {
    async fn run(&self) -> Result<(), ScenarioError> {
        super::run(self).await
    }

    async fn record(&self, outcome: &mut ScenarioOutcome) {
        let notes = std::mem::take(&mut *self.notes.lock().await);
        outcome.core.clone_from(&self.core_name);
        outcome.boots_ms = notes.boots_ms;
        outcome.edges = notes.edges;
        outcome.trace = notes.trace;
        outcome.slow = notes.slow;
        outcome.disks_left = notes.disks_left;
        outcome.remarks = self.sites().flat_map(|site| site.remarks()).collect();
        outcome.rules = notes.rules.into_outcomes();
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

/// The fault that the run asks for.
fn plan_mutant(context: &RunContext, scenario: &Scenario) -> Result<Option<Arc<Planned>>, ScenarioError> {
    let Some(words) = context.mutant.as_deref() else { return Ok(None) };
    let planned = Planned::parse(words).ok_or_else(|| {
        let known: Vec<_> = mutants::ALL.iter().map(|mutant| mutant.name).collect();
        ScenarioError::Inconclusive(format!("there is no mutant {words}; known: {}", known.join(", ")))
    })?;
    match planned.edge().filter(|edge| !scenario.edges.iter().any(|known| known == edge)) {
        Some(edge) => Err(ScenarioError::Inconclusive(format!("{} has no edge {edge}", scenario.name))),
        None => Ok(Some(planned)),
    }
}

/// Opens the built-in core on `sites`, with a fault put into it if one is asked for.
pub(crate) fn open_core(
    evidence: &Evidence,
    mutant: Option<Arc<Planned>>,
    sites: &[(&str, &Arc<StandInSite>)],
) -> Result<Arc<dyn ReplicationCore>, ScenarioError> {
    let tap = mutant.map(|mutant| mutant as Arc<dyn replication::fault_hook::FaultHook>);
    let platforms: BTreeMap<_, _> = sites
        .iter()
        .map(|(name, site)| (SiteId::from(*name), Arc::clone(site) as Arc<dyn Platform>))
        .collect();
    let dir = evidence.dir().join("core").into_std_path_buf();
    let core = replication::Core::open(replication::Config {
        platforms,
        dir,
        fault_hook: tap,
        clock: replication::Clock::system(),
    });
    Ok(Arc::new(core.map_err(|error| ScenarioError::Inconclusive(error.to_string()))?))
}

/// The word by which a value is written in JSON.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}
