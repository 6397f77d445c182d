//! What a scenario works with: its sites, the core under test, and what has been found so far.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use contract::{
    Direction, ErrorCode, ItemId, JobFilter, JobId, MachineId, Operation, Platform, PlatformError,
    PlatformErrorKind, ReplicationCore, ReprotectRequest, SiteId, Timestamp,
};
use harness::host::Host;
use harness::reaper;
use harness::scratch::Scratch;
use images::shape::Shape;
use standins::{OwnFailure, StandInSite};

use crate::blame::ScenarioError;
use crate::capability_gate::{CapabilityGate, operation_name};
use crate::context::RunContext;
use crate::core_change::AskedChange;
use crate::core_under_test::{self, CoreClock, CoreParts, CoreUnderTest};
use crate::disks;
use crate::evidence::{EDGES, Evidence};
use crate::hydration::KnownGuest;
use crate::missing::Missing;
use crate::outcome::ScenarioOutcome;
use crate::real::asked_core::AskedCore;
use crate::real::environment::TestEnvironment;
use crate::real::findings::Findings;
use crate::real::stand_in_failures::StandInFailures;
use crate::registry;
use crate::rules::RuleId;
use crate::scenario::Scenario;

/// How long a guest may take from power-on to its witness's hello.
pub(crate) const BOOT_WITHIN: Duration = Duration::from_secs(120);

/// What a scenario works with: one machine, two sites, and the core that replicates between them.
///
/// Clones share the sites, the core and the findings.
#[derive(Clone)]
pub(crate) struct ScenarioContext {
    pub(crate) run: RunContext,
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) image: images::Image,
    /// The layout of the machine's disks.
    pub(crate) shape: &'static Shape,
    pub(crate) core: AskedCore,
    /// Whether the core edits registries of Windows machines.
    pub(crate) edits_registries: bool,
    /// Whether the core recovers every network card of a machine.
    pub(crate) recovers_all_nics: bool,
    /// The site on which the machine runs first.
    pub(crate) primary: Arc<StandInSite>,
    /// The site to which it fails over.
    pub(crate) recovery: Arc<StandInSite>,
    pub(crate) item: ItemId,
    pub(crate) machine: MachineId,
    /// The site to which the machine fails back, if that is not the primary one.
    failback_site: Option<Arc<StandInSite>>,
    /// Every site of the scenario with its name, the primary and the recovery site among them.
    sites: Vec<(String, Arc<StandInSite>)>,
    /// The failures of these sites themselves.
    failures: StandInFailures,
    findings: Arc<Mutex<Findings>>,
    /// The capability that the core lacks for the rest of the scenario.
    missing: Missing,
    guest: Arc<OnceLock<KnownGuest>>,
    pub(crate) fault: AskedChange,
    core_name: String,
    /// What the core says it can do.
    operations: Arc<Vec<Operation>>,
    /// The core without the gate that keeps it from being asked for what it lacks.
    opened: Arc<dyn ReplicationCore>,
    host: Host,
    scratch: Arc<Scratch>,
}

impl ScenarioContext {
    /// Opens the sites of the scenario's row and the core, which must support the operations that
    /// the script needs.
    ///
    /// # Errors
    /// Something is missing on this host, the row names an unknown stand-in, or the core lacks an
    /// operation.
    pub(crate) async fn open(
        run: &RunContext,
        scenario: &Scenario,
        needs: &[Operation],
        evidence: &Arc<Evidence>,
    ) -> Result<Self, ScenarioError> {
        let environment = TestEnvironment::open(run, evidence).await?;
        let Scenario { source, target, failback_to, more_sites, shape, .. } = scenario;
        let shape = Shape::named(shape)
            .ok_or_else(|| ScenarioError::Inconclusive(format!("there is no shape called {shape}")))?;
        let mut sites = Vec::new();
        for name in [source, target].into_iter().chain(failback_to).chain(more_sites) {
            sites.push((name.clone(), environment.site_of_shape(name, shape).await?));
        }
        let fault = AskedChange::for_edges(run, &scenario.edges)
            .map_err(|error| ScenarioError::Inconclusive(format!("{}: {error}", scenario.name)))?;
        let named: Vec<_> = sites.iter().map(|(name, site)| (name.as_str(), site)).collect();
        let CoreUnderTest { core, capabilities } = open_capable_core(evidence, &fault, &named, needs).await?;
        let missing = Missing::default();
        let opened = Arc::clone(&core);
        let failures = StandInFailures::of(sites.iter().map(|(_, site)| site));
        let core = AskedCore::new(CapabilityGate::wrap(core, &missing), &failures);
        Ok(Self {
            run: run.clone(),
            scenario: Arc::new(scenario.clone()),
            evidence: Arc::clone(evidence),
            image: environment.image,
            shape,
            core,
            edits_registries: capabilities.windows_registry,
            recovers_all_nics: capabilities.several_nics,
            primary: Arc::clone(&sites[0].1),
            recovery: Arc::clone(&sites[1].1),
            item: ItemId::from("shop"),
            machine: MachineId::from("shop"),
            failback_site: failback_to.as_ref().map(|_| Arc::clone(&sites[2].1)),
            sites,
            failures,
            findings: Findings::noting(&missing),
            missing,
            guest: Arc::default(),
            fault,
            core_name: crate::wire_core::report_name(capabilities.name).await,
            operations: Arc::new(capabilities.operations),
            opened,
            host: environment.host,
            scratch: environment.scratch,
        })
    }

    /// A context for another machine between the same sites, with findings of its own.
    pub(crate) fn for_machine(&self, name: &str) -> Self {
        let item = ItemId::from(name);
        let machine = MachineId::from(name);
        Self {
            item,
            machine,
            findings: Findings::noting(&self.missing),
            guest: Arc::default(),
            ..self.clone()
        }
    }

    /// A context for another machine between two of the scenario's sites, with findings of its own.
    ///
    /// # Errors
    /// The scenario's row names no such stand-in.
    pub(crate) fn for_pair(&self, source: &str, target: &str, machine: &str) -> Result<Self, ScenarioError> {
        let primary = self.site(source)?;
        let recovery = self.site(target)?;
        Ok(Self { primary, recovery, ..self.for_machine(machine) })
    }

    fn site(&self, wanted: &str) -> Result<Arc<StandInSite>, ScenarioError> {
        let found = self.sites.iter().find(|(name, _)| name == wanted);
        found.map(|(_, site)| Arc::clone(site)).ok_or_else(|| {
            ScenarioError::Inconclusive(format!("the scenario's row names no stand-in {wanted}"))
        })
    }

    /// A context in which the site to which the machine fails back is the primary one. It is the
    /// same context if the machine fails back to where it came from.
    pub(crate) fn with_failback_site_as_primary(&self) -> Self {
        let primary = Arc::clone(self.failback_site.as_ref().unwrap_or(&self.primary));
        Self { primary, ..self.clone() }
    }

    /// Takes over the findings of another machine's context; its trace lines begin with its name.
    pub(crate) fn merge_findings(&self, other: &Self) {
        let theirs = std::mem::take(&mut *other.findings());
        let mut findings = self.findings();
        theirs.rules.into_outcomes().into_iter().for_each(|rule| findings.rules.add(rule));
        findings.edges.extend(theirs.edges);
        findings.trace.extend(theirs.trace.into_iter().map(|line| format!("{}: {line}", other.machine)));
        findings.slow.extend(theirs.slow);
        findings.boots_ms.extend(theirs.boots_ms);
    }

    /// Makes the directory for the evidence of the edge that is judged next. It is numbered, so
    /// that repeated cycles do not mix their evidence.
    pub(crate) fn edge_dir(&self, edge: &str) -> Result<Utf8PathBuf, ScenarioError> {
        let number = self.findings().edges.len() + 1;
        let dir = self.evidence.dir().join(EDGES).join(format!("{number}-{edge}"));
        std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
        Ok(dir)
    }

    /// A reprotect request as a user confirms it: filled with the first suitable component that
    /// the sites' infrastructure offers (RE-25, IN-03).
    pub(crate) async fn reprotect_request(
        &self,
        direction: Direction,
    ) -> Result<ReprotectRequest, ScenarioError> {
        let (from, to) = match direction {
            Direction::PrimaryToRecovery => (&self.primary, &self.recovery),
            Direction::RecoveryToPrimary => (&self.recovery, &self.primary),
        };
        let failback_site = match (direction, &self.failback_site) {
            (Direction::RecoveryToPrimary, Some(site)) => Some(site.site().await?.id),
            _ => None,
        };
        let offered_from = from.infrastructure().await?;
        let offered_to = to.infrastructure().await?;
        let request = ReprotectRequest::new(&self.item, direction).with_defaults(&offered_from, &offered_to);
        Ok(ReprotectRequest { failback_site, ..request })
    }

    /// Whether the core says that it can do this.
    pub(crate) fn core_can(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// The ids of all jobs that the core lists; none if it lists no jobs.
    pub(crate) async fn job_ids(&self) -> Result<BTreeSet<JobId>, ScenarioError> {
        match self.opened.jobs(&JobFilter::default()).await {
            Ok(jobs) => Ok(jobs.into_iter().map(|job| job.id).collect()),
            Err(error) if error.code == ErrorCode::NotSupported => Ok(BTreeSet::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Every site of the scenario with its name.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (&str, &Arc<StandInSite>)> {
        self.sites.iter().map(|(name, site)| (name.as_str(), site))
    }

    /// Directory for files that are not evidence; removed with the run.
    pub(crate) fn scratch_dir(&self) -> &Utf8Path {
        self.scratch.path()
    }

    /// The directory of the core's state.
    pub(crate) fn core_dir(&self) -> Utf8PathBuf {
        core_dir(&self.evidence)
    }

    /// Activates the mutant if it was planned for this edge (`--mutant NAME@EDGE`).
    pub(crate) fn begin_edge(&self, edge: &str) {
        self.fault.begin_edge(edge);
    }

    /// Notes what the platform and the agent say about the machine that was installed.
    pub(crate) fn note_guest(&self, guest: KnownGuest) {
        // A machine is installed once; its facts do not change.
        let _ = self.guest.set(guest);
    }

    /// What the platform and the agent say about the machine.
    pub(crate) fn guest(&self) -> Option<&KnownGuest> {
        self.guest.get()
    }

    /// Locks the findings. The lock must not be kept across an await.
    pub(crate) fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds that the scenario's first boot took: the unit of recovery times.
    pub(crate) fn cold_boot_ms(&self) -> u64 {
        self.findings().boots_ms.first().copied().unwrap_or_default()
    }

    /// Records whether a rule is satisfied, and what was found.
    pub(crate) fn check(&self, rule: RuleId, satisfied: bool, found: impl Into<String>) {
        self.findings().rules.check(rule, satisfied, found);
    }

    /// As [`Self::check`], for a rule that asks for an edit of a Windows machine's registry.
    pub(crate) fn check_edit(&self, rule: RuleId, satisfied: bool, found: impl Into<String>) {
        if self.has_registry_edits(rule) {
            self.check(rule, satisfied, found);
        }
    }

    /// Whether the core edits the registry of Windows machines. If not, the rule is skipped.
    pub(crate) fn has_registry_edits(&self, rule: RuleId) -> bool {
        if !self.edits_registries {
            self.findings().rules.skip(rule, registry::CAPABILITY);
        }
        self.edits_registries
    }

    /// Records that a rule needs an operation that the core does not have.
    pub(crate) fn skip(&self, rule: RuleId, operation: Operation) {
        self.findings().rules.skip(rule, &operation_name(operation));
    }

    /// Records that nothing can be said about a rule, and why.
    pub(crate) fn unknown(&self, rule: RuleId, why: impl Into<String>) {
        self.findings().rules.unknown(rule, why);
    }

    /// Checks the image file of every volume of a site that no running machine has open: whether it
    /// is intact and has its format. `when` goes into the report.
    pub(crate) async fn inspect_disks(&self, site: &StandInSite, when: &str) -> Result<(), ScenarioError> {
        let found = disks::inspect(site, when).await?;
        self.findings().disks_left.extend(found);
        Ok(())
    }

    /// ST-02, ST-03: every image file that was inspected is intact and has its format.
    pub(crate) fn check_inspected_disks(&self) {
        let mut findings = self.findings();
        let Findings { rules, disks_left, .. } = &mut *findings;
        disks::check(rules, disks_left);
    }

    /// Appends a line to the trace.
    pub(crate) fn trace(&self, line: impl Into<String>) {
        self.findings().trace.push(line.into());
    }

    /// Appends the item's state to the trace.
    pub(crate) async fn trace_state(&self) -> Result<(), ScenarioError> {
        let protection = self.core.item(&self.item).await?.protection;
        let phase = json_name(&protection.phase);
        let active = json_name(&protection.active);
        self.trace(format!("state: {phase}, active {active}"));
        Ok(())
    }

    /// The first failure of a stand-in itself since a moment. What the core did not do because of
    /// it is no failure of the core.
    pub(crate) fn stand_in_failure(&self, since: Timestamp) -> Option<PlatformError> {
        self.failures.first_since(since)
    }

    /// The ends so far of QEMUs and storage daemons that nobody had asked for.
    pub(crate) fn unexplained_ends(&self) -> Vec<OwnFailure> {
        self.sites.iter().flat_map(|(_, site)| site.unexplained_ends()).collect()
    }

    /// The last time that a site could not quiesce the applications of a guest.
    pub(crate) fn not_quiesced(&self) -> Option<PlatformError> {
        self.failures.last_of_kind(PlatformErrorKind::NotQuiesced)
    }

    /// The error of a scenario that ended: what it needed and the core lacks explains the rest.
    pub(crate) fn ended(&self, ended: Result<(), ScenarioError>) -> Result<(), ScenarioError> {
        match self.missing.get() {
            Some(capability) => Err(ScenarioError::Lacking(capability.to_owned())),
            None => ended,
        }
    }

    /// Moves the findings into the outcome.
    pub(crate) fn record(&self, outcome: &mut ScenarioOutcome) {
        let findings = std::mem::take(&mut *self.findings());
        outcome.core.clone_from(&self.core_name);
        outcome.boots_ms = findings.boots_ms;
        outcome.edges = findings.edges;
        outcome.trace = findings.trace;
        outcome.slow = findings.slow;
        outcome.disks_left = findings.disks_left;
        outcome.remarks = self.sites.iter().flat_map(|(_, site)| site.remarks()).collect();
        outcome.rules = findings.rules.into_outcomes();
    }

    /// Heals every fault, closes the core and takes all sites down; with `--keep`, the guests of a
    /// failed scenario stay. Continues after an error and returns the first one.
    ///
    /// # Errors
    /// The core did not close, or a guest or daemon could not be removed.
    pub(crate) async fn close(&self, failed: bool) -> Result<(), ScenarioError> {
        let mut result = Ok(());
        for (_, site) in &self.sites {
            // A core cannot close what it has open at a site on which a fault is still active.
            result = result.and(site.heal().await.map_err(ScenarioError::from));
        }
        result = result.and(self.core.close().await.map_err(ScenarioError::from));
        if failed && self.run.keep {
            reaper::keep(self.scratch.path())?;
            self.scratch.keep();
            println!(
                "kept: `virsh -c {} list` shows the guests; sockets are in {}; `cargo xtask clean` removes both",
                self.host.uri(),
                self.scratch.path()
            );
            return result;
        }
        for (_, site) in &self.sites {
            result = result.and(site.close().await.map_err(ScenarioError::from));
        }
        result
    }
}

/// Opens the core under test, which must support the operations that a script needs.
async fn open_capable_core(
    evidence: &Evidence,
    fault: &AskedChange,
    sites: &[(&str, &Arc<StandInSite>)],
    needs: &[Operation],
) -> Result<CoreUnderTest, ScenarioError> {
    let core = CoreUnderTest::query(open_core(evidence, fault, sites)?).await?;
    match core.lacks(needs) {
        None => Ok(core),
        Some(operation) => Err(ScenarioError::Lacking(operation_name(operation))),
    }
}

/// The directory of the core's state.
fn core_dir(evidence: &Evidence) -> Utf8PathBuf {
    evidence.dir().join("core")
}

/// Opens the core under test on `sites`, with a fault injected if one was asked for.
pub(crate) fn open_core(
    evidence: &Evidence,
    fault: &AskedChange,
    sites: &[(&str, &Arc<StandInSite>)],
) -> Result<Arc<dyn ReplicationCore>, ScenarioError> {
    let platforms = sites
        .iter()
        .map(|(name, site)| (SiteId::from(*name), Arc::clone(site) as Arc<dyn Platform>))
        .collect();
    let dir = core_dir(evidence).into_std_path_buf();
    let log = Some(evidence.dir().join("core.log").into_std_path_buf());
    let parts = CoreParts { platforms, dir, clock: CoreClock::System, log };
    core_under_test::open(parts, fault).map_err(|error| ScenarioError::Inconclusive(error.to_string()))
}

/// The name of an enum variant in JSON, such as `commit-pending`.
pub(crate) fn json_name(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}
