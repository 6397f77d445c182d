//! Every fault in turn while a machine is protected.
//!
//! While a fault is active, the core has to report it or replicate in spite of it. Once it is
//! healed, replication has to come back by itself, and a test failover has to show an exact state.
//! At the end, an unplanned failover whose source refuses to shut down.

use std::time::{Duration, Instant};

use contract::{
    Direction, FailoverRequest, Health, ItemView, JobState, Millis, Operation, Platform, PowerState,
    StepState, Timestamp, VolumeId,
};
use harness::relay::LinkCondition;
use harness::storage::WriteFault;
use standins::{SiteFault, StandInSite};
use tracing::Instrument as _;

use crate::blame::{CoreFailure, ScenarioError};
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::failover;
use crate::real::edge::freshness::now;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::measure::Outage;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::{
    RecoveryTarget, put_to_work, start_load, wait_for_agent, wait_for_hello, wait_for_work,
};
use crate::real::edge::recovery_point::{POINTS_WITHIN, check_points_kept, point_later_than, points_lost};
use crate::real::edge::work::{AtWork, check_work};
use crate::real::machine::Running;
use crate::real::scenarios::test_failover;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;
use crate::rules::ids::*;

/// How long the core may take to report a fault or its end, and to make a recovery point.
const REPORTED_WITHIN: Duration = Duration::from_secs(60);
/// Bytes a second of a slow link: enough for a few transfers a second.
const SLOW: u64 = 2 << 20;
/// Bytes after which a connection over a lossy link breaks: less than any transfer.
const LOSSY: u64 = 4 << 10;
/// Recovery points that have to come over a bad link. On a lossy one a connection breaks before
/// each of them, and only one: a core may use as many connections in a transfer as it likes.
const POINTS_ON_BAD_LINK: usize = 3;
/// How long the core waits for a guest that refuses to shut down.
const REFUSED_WITHIN: Millis = Millis(5_000);
/// The last edge.
const SHUTDOWN_REFUSED: EdgeName = EdgeName::new("failover-shutdown-refused", 6);

pub(crate) const SCRIPT: Script = Script {
    edges: || CASES.iter().map(|case| case.edge).chain([SHUTDOWN_REFUSED]).collect(),
    repeatable: false,
    needs: &[
        Operation::TestFailover,
        Operation::TestFailoverCleanup,
        Operation::UnplannedFailover,
        Operation::Commit,
    ],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

/// One fault, where it is injected, and what the rules demand while it is active.
struct FaultCase {
    /// The edge that is judged once the fault is healed: a test failover.
    edge: EdgeName,
    site: FaultSite,
    fault: fn(&ScenarioContext) -> SiteFault,
    meanwhile: Meanwhile,
}

#[derive(Clone, Copy)]
enum FaultSite {
    Source,
    Target,
}

/// What the rules demand while a fault is active. Unless the fault stops it, the source's guest has
/// to work on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Nothing replicates, and the item's health reports it (MO-01).
    Reported,
    /// Recovery points come although some transfers fail.
    PointsCome,
    /// Recovery points come although the guest writes nothing.
    GuestPaused,
    /// The machine is off. Nothing is demanded except that no recovery point is lost.
    MachineOff,
}

const fn after(edge: &'static str) -> EdgeName {
    EdgeName::new(edge, 6)
}

const CASES: [FaultCase; 9] = [
    FaultCase {
        edge: after("test-failover-after-link-down"),
        site: FaultSite::Source,
        fault: |_| SiteFault::Link(LinkCondition::Down),
        meanwhile: Meanwhile::Reported,
    },
    FaultCase {
        edge: after("test-failover-after-link-slow"),
        site: FaultSite::Source,
        fault: |_| SiteFault::Link(LinkCondition::Throttled(SLOW)),
        meanwhile: Meanwhile::PointsCome,
    },
    FaultCase {
        edge: after("test-failover-after-link-lossy"),
        site: FaultSite::Source,
        fault: |context| SiteFault::Link(lossy(context)),
        meanwhile: Meanwhile::PointsCome,
    },
    FaultCase {
        edge: after("test-failover-after-write-errors"),
        site: FaultSite::Target,
        fault: |_| SiteFault::Writes(WriteFault::Broken),
        meanwhile: Meanwhile::Reported,
    },
    FaultCase {
        edge: after("test-failover-after-full-disk"),
        site: FaultSite::Target,
        fault: |_| SiteFault::Writes(WriteFault::Full),
        meanwhile: Meanwhile::Reported,
    },
    FaultCase {
        edge: after("test-failover-after-storage-killed"),
        site: FaultSite::Target,
        fault: |_| SiteFault::StorageKilled,
        meanwhile: Meanwhile::Reported,
    },
    FaultCase {
        edge: after("test-failover-after-process-server-down"),
        site: FaultSite::Source,
        fault: |_| SiteFault::ComponentDown("process-server"),
        meanwhile: Meanwhile::Reported,
    },
    FaultCase {
        edge: after("test-failover-after-guest-frozen"),
        site: FaultSite::Source,
        fault: |context| SiteFault::GuestFrozen(context.machine.clone()),
        meanwhile: Meanwhile::GuestPaused,
    },
    FaultCase {
        edge: after("test-failover-after-power-cut"),
        site: FaultSite::Source,
        fault: |context| SiteFault::PowerCut(context.machine.clone()),
        meanwhile: Meanwhile::MachineOff,
    },
];

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut source = setup::boot_source(context).await?;
    setup::protect(context, &source).await?;
    for case in &CASES {
        source = case.run(context, source).await?;
    }
    let edge = Edge::begin(context, SHUTDOWN_REFUSED, &source);
    let cloud = fail_over_refused(edge).instrument(edge.span()).await?;
    teardown::end_on_recovery_site(context, &cloud).await?;
    let machines = context.recovery.machines().await?.len();
    let disks = context.recovery.machine(&context.machine).await?.disks;
    let left = volumes_beside(&context.recovery, disks.iter().map(|disk| &disk.volume)).await;
    let found = format!("{machines} machines and, beside its disks, volumes {left:?} on the recovery side");
    context.check(FO_04, machines == 1 && left.is_empty(), found);
    Ok(())
}

/// A link of the source that breaks one connection more.
fn lossy(context: &ScenarioContext) -> LinkCondition {
    LinkCondition::Lossy { after: LOSSY, breaks: context.primary.link_felt().broken() + 1 }
}

impl FaultCase {
    /// Injects the fault, observes what it does, heals it, and makes a test failover. Returns the
    /// source, which may have booted again.
    async fn run(&self, context: &ScenarioContext, source: Running) -> Result<Running, ScenarioError> {
        let label = self.edge.as_str();
        let site = match self.site {
            FaultSite::Source => &context.primary,
            FaultSite::Target => &context.recovery,
        };
        wait_for_work(context, label, &source).await?;
        let before = context.core.item(&context.item).await?;
        let step = context.evidence.step(label, "the fault is active");
        context.inject(site, &(self.fault)(context)).await?;
        let observed = self.observe(context, &source).await;
        // Heal before an error of the observation ends the scenario.
        let healed = context.heal(site).await;
        step.with(observed)?;
        healed?;
        let source = match self.meanwhile {
            Meanwhile::MachineOff => wait_for_restart(context, source).await?,
            _ => source,
        };
        self.check_recovery(context, &source, &before).await?;
        test_failover::run_briefly(context, self.edge, &source).await?;
        Ok(source)
    }

    /// Checks what has to happen while the fault is active.
    async fn observe(&self, context: &ScenarioContext, source: &Running) -> Result<(), ScenarioError> {
        match self.meanwhile {
            Meanwhile::Reported => self.observe_report(context, source).await,
            Meanwhile::PointsCome => self.observe_points(context, source).await,
            Meanwhile::GuestPaused => self.observe_paused_guest(context, source).await,
            Meanwhile::MachineOff => match context.primary.machine(&context.machine).await?.power {
                PowerState::Off => Ok(()),
                PowerState::On => Err(self.inconclusive("the machine still runs")),
            },
        }
    }

    /// MO-01: the item's health becomes critical, perhaps after a warning, and says why.
    async fn observe_report(&self, context: &ScenarioContext, source: &Running) -> Result<(), ScenarioError> {
        let at_work = AtWork::watch(source);
        let report = context.item_once(Health::Critical);
        let item = within(context, self.edge, source, "report of the fault", REPORTED_WITHIN, report).await?;
        let critical = item.health == Health::Critical && !item.trouble.is_empty();
        let found = format!("{}: {:?}, {:?}", self.edge, item.health, item.trouble);
        context.check(MO_01, critical, found);
        self.check_source_works(context, &at_work).await
    }

    async fn observe_points(&self, context: &ScenarioContext, source: &Running) -> Result<(), ScenarioError> {
        let at_work = AtWork::watch(source);
        for _ in 0..POINTS_ON_BAD_LINK {
            context.primary.inject(&(self.fault)(context)).await?;
            point_after(context, self.edge, source, now()).await?;
        }
        self.ensure_effect(context)?;
        self.check_source_works(context, &at_work).await
    }

    async fn observe_paused_guest(
        &self,
        context: &ScenarioContext,
        source: &Running,
    ) -> Result<(), ScenarioError> {
        // Acknowledgements that the guest sent before it was paused may arrive until then.
        point_after(context, self.edge, source, now()).await?;
        let last_record = source.last_record();
        point_after(context, self.edge, source, now()).await?;
        if source.last_record() == last_record {
            Ok(())
        } else {
            Err(self.inconclusive("the paused guest continued to write"))
        }
    }

    /// A fault that had no effect makes the run inconclusive.
    fn ensure_effect(&self, context: &ScenarioContext) -> Result<(), ScenarioError> {
        let link = context.primary.link_felt();
        let effects = match (self.fault)(context) {
            SiteFault::Link(LinkCondition::Throttled(_)) => link.slowed(),
            SiteFault::Link(LinkCondition::Lossy { .. }) => link.broken(),
            _ => return Ok(()),
        };
        if effects == 0 { Err(self.inconclusive("the fault had no effect")) } else { Ok(()) }
    }

    fn inconclusive(&self, what: &str) -> ScenarioError {
        ScenarioError::Inconclusive(format!("{}: {what}", self.edge))
    }

    /// TF-02: the source's guest does not notice that replication has failed.
    async fn check_source_works(
        &self,
        context: &ScenarioContext,
        at_work: &AtWork<'_>,
    ) -> Result<(), ScenarioError> {
        let work = at_work.so_far().await;
        check_work(context, TF_02, &work, true, &format!("{}: the source", self.edge));
        Ok(())
    }

    /// MO-01: once the fault is healed, replication comes back by itself, and no recovery point is
    /// lost.
    async fn check_recovery(
        &self,
        context: &ScenarioContext,
        source: &Running,
        before: &ItemView,
    ) -> Result<(), ScenarioError> {
        let step = context.evidence.step(self.edge.as_str(), "replication comes back");
        let healed = now();
        let item = point_after(context, self.edge, source, healed).await?;
        let lost = points_lost(before, &item);
        // A core may look at its health only after the point.
        let ended = end_of_report(context);
        let item = within(context, self.edge, source, "end of the report", REPORTED_WITHIN, ended).await?;
        if let Some(why) = unquiesced(context, item.health) {
            let found = format!("{}: {:?} {:?}: {why}", self.edge, item.health, item.trouble);
            context.unknown(MO_01, found);
            return Err(self.inconclusive(&format!("the guest could not be quiesced: {why}")));
        }
        let healthy = item.health == Health::Healthy && lost == 0;
        let found = format!("{}: {:?} {:?}, {lost} points lost", self.edge, item.health, item.trouble);
        context.check(MO_01, healthy, found);
        step.done();
        context.trace(format!("{}: healed, replication came back by itself", self.edge));
        Ok(())
    }
}

/// Why an item is only warned about although no fault is active, if that is not the core's doing:
/// the platform could not quiesce its guest.
fn unquiesced(context: &ScenarioContext, health: Health) -> Option<String> {
    context.not_quiesced().filter(|_| health == Health::Warning).map(|error| error.to_string())
}

/// Waits until the item is healthy, or what is reported is no fault of the core.
async fn end_of_report(context: &ScenarioContext) -> Result<ItemView, CoreFailure> {
    let mut item = context.core.item(&context.item).await?;
    while item.health != Health::Healthy && unquiesced(context, item.health).is_none() {
        item = context.core.watch_health(&context.item, item.health).await?;
    }
    Ok(item)
}

/// Waits for a processed recovery point of a later moment than `moment`, in spite of transient
/// errors.
async fn point_after(
    context: &ScenarioContext,
    edge: EdgeName,
    source: &Running,
    moment: Timestamp,
) -> Result<ItemView, ScenarioError> {
    let comes = async { Ok(point_later_than(context, moment).await.1) };
    within(context, edge, source, "recovery point of a later moment", POINTS_WITHIN, comes).await
}

/// MO-01: waits for something that the core has to deliver in time.
async fn within<T>(
    context: &ScenarioContext,
    edge: EdgeName,
    source: &Running,
    awaited: &str,
    bound: Duration,
    answer: impl Future<Output = Result<T, CoreFailure>>,
) -> Result<T, ScenarioError> {
    let answer = async { Ok(answer.await?) };
    let label = edge.as_str();
    context.expect_of_core(MO_01, label, awaited, &source.boot.guest, bound, answer).await
}

/// Waits until a machine whose power failed has booted again from its own disks, and gives it its
/// load.
pub(crate) async fn wait_for_restart(
    context: &ScenarioContext,
    before: Running,
) -> Result<Running, ScenarioError> {
    let restarted = context.primary.boot_after(&context.machine, before.boot.number);
    // The stand-in switches the machine on again, not the core.
    let boot = tokio::time::timeout(BOOT_WITHIN, restarted).await.map_err(|_| {
        ScenarioError::Inconclusive(format!("the source was not switched on again within {BOOT_WITHIN:?}"))
    })?;
    wait_for_hello(context, &boot, BOOT_WITHIN).await?;
    let findings = boot.guest.race("its findings", BOOT_WITHIN, boot.guest.witness().check()).await?;
    let last_on_disk = findings.ledger.contiguous;
    let last_before = before.last_record();
    if last_on_disk < last_before {
        return Err(ScenarioError::Inconclusive(format!(
            "the source's own disks lost records {} to {last_before} in a power cut",
            last_on_disk + 1
        )));
    }
    let restarted = start_load(context, before.site, boot, last_on_disk).await?;
    wait_for_agent(&restarted).await?;
    Ok(restarted)
}

/// FO-07, LC-10: an unplanned failover completes with a warning although the source does not shut
/// down.
async fn fail_over_refused(edge: Edge<'_>) -> Result<Running, ScenarioError> {
    let context = edge.context();
    edge.wait_for_work().await?;
    edge.wait_for_fresh_points().await?;
    context.inject(&context.primary, &SiteFault::ShutdownRefused(context.machine.clone())).await?;
    let before = context.core.item(&context.item).await?;
    let target = RecoveryTarget::new_machine(&context.recovery, context.machine.clone());
    let outage = Outage::since(Instant::now());
    let request = FailoverRequest {
        shut_down_source: true,
        shutdown_within: REFUSED_WITHIN,
        ..FailoverRequest::unplanned(&context.item, Direction::PrimaryToRecovery)
    };
    let job = context.core.failover(&request).await?;
    let recovered = edge.recover(&target, &job).await?;
    let runs = !edge.source().boot.guest.is_gone();
    let state = recovered.job.state;
    let step_warned = recovered.job.steps.iter().any(|step| step.state == StepState::Warning);
    let warned = step_warned && state == JobState::CompletedWithWarning;
    let found = format!("the source ran on: {runs}; the job ended {state:?}, a step warned: {step_warned}");
    context.check(FO_07, runs && warned, found.clone());
    context.check(LC_10, warned, found);
    let point = check_points_kept(context, edge.name().as_str(), &before).await?;
    let mut judged = edge.judge_recovery_from(&point, recovered, outage).await?;
    edge.check_choice(&request.point, &before, &point, outage, &mut judged);
    let recovered = edge.finish(judged)?;
    // Both machines run. The operator decides which one serves, and here powers off the source.
    context.primary.power_off(&context.machine).await?;
    context.heal(&context.primary).await?;
    let running = put_to_work(context, &recovered).await?;
    failover::commit(edge, &running, &point).await?;
    Ok(running)
}

/// Volumes of a site that none of `disks` is based on.
async fn volumes_beside<'a>(site: &StandInSite, disks: impl Iterator<Item = &'a VolumeId>) -> Vec<String> {
    let mut used = Vec::new();
    for disk in disks {
        used.extend(site.files_of(disk).await.into_iter().map(|(path, _)| path));
    }
    let all = site.volume_files().await;
    all.into_iter().filter(|(_, path, _)| !used.contains(path)).map(|(id, ..)| id.0).collect()
}
