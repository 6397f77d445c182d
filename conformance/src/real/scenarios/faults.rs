//! Every fault in turn while a machine is protected: what the rules demand of it meanwhile, that replication comes back by
//! itself once it is healed, and that a test failover then shows an exact state. At the end a failover whose source refuses to shut
//! down.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::{
    Direction, FailoverRequest, Health, ItemView, JobState, Millis, Platform, StepState, Timestamp,
};
use harness::relay::LinkCondition;
use harness::storage::WriteFault;
use standins::{Fault, StandInSite};

use crate::blame::ScenarioError;
use crate::outcome::Rpo;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge;
use crate::real::edge::failover;
use crate::real::edge::measure;
use crate::real::machine::Running;
use crate::real::scenarios::test_failover;
use crate::real::setup;
use crate::real::setup::load;
use crate::real::teardown as finish;
use crate::rules::ids::*;

/// How long health may take to tell of a fault or of its end, and a point to come.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// A slow link's rate: a few transfers' worth a second, so that it is slow and not dead.
const SLOW: u64 = 2 << 20;
/// What a connection of a lossy link carries before it breaks: less than any transfer.
const LOSSY: u64 = 4 << 10;
/// Points that have to come over a bad link. A transfer has a connection a disk, and each third one breaks: in as many
/// transfers at least one is hit.
const POINTS_ON_BAD_LINK: usize = 3;
/// How long a guest that refuses may take to shut down.
const REFUSED_WITHIN: Millis = Millis(5_000);
/// The last edge.
const REFUSED: &str = "failover-shutdown-refused";

/// One fault, where it strikes, and what has to be seen while it lasts.
struct Trial {
    /// Name of its edge: a test failover once it is healed.
    edge: &'static str,
    strikes: Strikes,
    fault: fn(&ScenarioContext) -> Fault,
    meanwhile: Meanwhile,
}

#[derive(Clone, Copy)]
enum Strikes {
    Source,
    Target,
}

/// What the rules demand while a fault lasts. The source's own work goes on in all cases but the last two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Nothing replicates, and health says so (MO-01).
    Told,
    /// Points come all the same, though some transfers fail.
    PointsCome,
    /// Points come, of a machine that stands still.
    StandsStill,
    /// The machine is off; nothing is demanded but that no point is lost.
    Off,
}

const TRIALS: [Trial; 9] = [
    Trial {
        edge: "test-failover-after-link-down",
        strikes: Strikes::Source,
        fault: |_| Fault::Link(LinkCondition::Down),
        meanwhile: Meanwhile::Told,
    },
    Trial {
        edge: "test-failover-after-link-slow",
        strikes: Strikes::Source,
        fault: |_| Fault::Link(LinkCondition::Throttled(SLOW)),
        meanwhile: Meanwhile::PointsCome,
    },
    Trial {
        edge: "test-failover-after-link-lossy",
        strikes: Strikes::Source,
        fault: |_| Fault::Link(LinkCondition::Lossy(LOSSY)),
        meanwhile: Meanwhile::PointsCome,
    },
    Trial {
        edge: "test-failover-after-write-errors",
        strikes: Strikes::Target,
        fault: |_| Fault::Writes(WriteFault::Broken),
        meanwhile: Meanwhile::Told,
    },
    Trial {
        edge: "test-failover-after-full-disk",
        strikes: Strikes::Target,
        fault: |_| Fault::Writes(WriteFault::Full),
        meanwhile: Meanwhile::Told,
    },
    Trial {
        edge: "test-failover-after-storage-killed",
        strikes: Strikes::Target,
        fault: |_| Fault::StorageKilled,
        meanwhile: Meanwhile::Told,
    },
    Trial {
        edge: "test-failover-after-process-server-down",
        strikes: Strikes::Source,
        fault: |_| Fault::ComponentDown("process-server"),
        meanwhile: Meanwhile::Told,
    },
    Trial {
        edge: "test-failover-after-guest-frozen",
        strikes: Strikes::Source,
        fault: |world| Fault::GuestFrozen(world.machine.clone()),
        meanwhile: Meanwhile::StandsStill,
    },
    Trial {
        edge: "test-failover-after-power-cut",
        strikes: Strikes::Source,
        fault: |world| Fault::PowerCut(world.machine.clone()),
        meanwhile: Meanwhile::Off,
    },
];

pub(crate) async fn go_through(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut source = setup::boot_source(world).await?;
    setup::protect(world, &source).await?;
    for trial in &TRIALS {
        source = trial.hold(world, source).await?;
    }
    let cloud = fail_over_refused(world, &source).await?;
    finish::rest(world, &cloud).await?;
    let machines = world.recovery.machines().await?.len();
    let disks = world.recovery.machine(&world.machine).await?.disks;
    let strays = strays(&world.recovery, disks.iter().map(|disk| &disk.volume)).await;
    let found = format!("{machines} machines and, beside its disks, volumes {strays:?} on the recovery side");
    world.check(FO_04, machines == 1 && strays.is_empty(), found);
    Ok(())
}

impl Trial {
    /// Lets the fault lose_site_and_fail_over, sees what it does, heals it, and holds a test failover.
    async fn hold(&self, world: &ScenarioContext, source: Running) -> Result<Running, ScenarioError> {
        let Self { edge, .. } = self;
        let site = match self.strikes {
            Strikes::Source => &world.primary,
            Strikes::Target => &world.recovery,
        };
        edge::await_work(world, edge, &source).await?;
        let before = world.core.item(&world.item).await?;
        let step = world.evidence.step(edge, "the fault strikes");
        site.inject(&(self.fault)(world)).await?;
        let seen = self.watch(world, &source).await;
        // Healed whatever was seen.
        let healed = site.heal().await;
        step.with(seen)?;
        healed?;
        let source = match self.meanwhile {
            Meanwhile::Off => back_at_work(world, source).await?,
            _ => source,
        };
        self.recovers(world, &source, &before).await?;
        test_failover::hold_short(world, edge, &source).await?;
        Ok(source)
    }

    /// What has to be seen while the fault lasts.
    async fn watch(&self, world: &ScenarioContext, source: &Running) -> Result<(), ScenarioError> {
        let acked = source.last_record();
        match self.meanwhile {
            Meanwhile::Told => {
                let told =
                    within(self.edge, "trouble told", world.core.watch_health(&world.item, Health::Healthy))
                        .await?;
                let critical = told.health == Health::Critical && !told.trouble.is_empty();
                let found = format!("{}: {:?}, {:?}", self.edge, told.health, told.trouble);
                world.check(MO_01, critical, found);
                self.works_on(world, source, acked).await
            }
            Meanwhile::PointsCome => {
                for _ in 0..POINTS_ON_BAD_LINK {
                    point_after(world, self.edge, now()).await?;
                }
                self.took_effect(world)?;
                self.works_on(world, source, acked).await
            }
            Meanwhile::StandsStill => {
                // What it said before it stood still may arrive later.
                point_after(world, self.edge, now()).await?;
                let still = source.last_record();
                point_after(world, self.edge, now()).await?;
                match source.last_record() == still {
                    true => Ok(()),
                    false => Err(ScenarioError::Inconclusive(format!(
                        "{}: the frozen guest went on writing",
                        self.edge
                    ))),
                }
            }
            Meanwhile::Off => match world.primary.machine(&world.machine).await?.power {
                contract::PowerState::Off => Ok(()),
                contract::PowerState::On => {
                    Err(ScenarioError::Inconclusive(format!("{}: it runs on", self.edge)))
                }
            },
        }
    }

    /// A fault that nobody felt proves nothing.
    fn took_effect(&self, world: &ScenarioContext) -> Result<(), ScenarioError> {
        let felt = world.primary.link_felt();
        let effect = match (self.fault)(world) {
            Fault::Link(LinkCondition::Throttled(_)) => felt.slowed(),
            Fault::Link(LinkCondition::Lossy(_)) => felt.broken(),
            _ => return Ok(()),
        };
        match effect {
            0 => Err(ScenarioError::Inconclusive(format!("{}: the fault was not felt", self.edge))),
            _ => Ok(()),
        }
    }

    /// TF-02's other face: what goes wrong with replication is no trouble of the machine's.
    async fn works_on(
        &self,
        world: &ScenarioContext,
        source: &Running,
        acked: u64,
    ) -> Result<(), ScenarioError> {
        let works = edge::works_beyond(source, acked).await;
        world.check(TF_02, works, format!("{}: the source acknowledged on: {works}", self.edge));
        Ok(())
    }

    /// Replication comes back by itself, and no point was lost.
    async fn recovers(
        &self,
        world: &ScenarioContext,
        source: &Running,
        before: &ItemView,
    ) -> Result<(), ScenarioError> {
        let step = world.evidence.step(self.edge, "replication comes back");
        let healed = now();
        let guest = &source.boot.guest;
        let comes = async { Ok(point_after(world, self.edge, healed).await) };
        let item = guest.race("a new point", TOLD_WITHIN, comes).await??;
        let lost = edge::points_lost(before, &item);
        let well = item.health == Health::Healthy && lost == 0;
        let found = format!("{}: {:?} {:?}, {lost} points lost", self.edge, item.health, item.trouble);
        world.check(MO_01, well, found);
        step.done();
        world.trace(format!("{}: healed, replication came back by itself", self.edge));
        Ok(())
    }
}

/// Waits for a processed point of a moment after `moment`, through troubles that pass.
async fn point_after(
    world: &ScenarioContext,
    edge: &str,
    moment: Timestamp,
) -> Result<ItemView, ScenarioError> {
    let comes = async {
        // Points before this one are there already, and their numbers return at once.
        let mut number = 1;
        loop {
            match world.core.watch_points(&world.item, number).await {
                Ok(item) => {
                    let newest = item.points.iter().rfind(|point| point.processed);
                    if newest.is_some_and(|point| point.time > moment) {
                        return Ok(item);
                    }
                    number += 1;
                }
                Err(_) => drop(world.core.watch_health(&world.item, Health::Critical).await?),
            }
        }
    };
    within(edge, "a point of a later moment", comes).await
}

/// Waits for `what` of the core, which owes it within a bound.
async fn within<T>(
    edge: &str,
    awaited: &str,
    what: impl Future<Output = Result<T, contract::CoreError>>,
) -> Result<T, ScenarioError> {
    let waited = tokio::time::timeout(TOLD_WITHIN, what).await;
    let found = waited
        .map_err(|_| ScenarioError::CoreViolation(format!("{edge}: no {awaited} within {TOLD_WITHIN:?}")))?;
    Ok(found?)
}

/// After a power cut the machine is back on its own disks, and goes on where they end.
async fn back_at_work(world: &ScenarioContext, before: Running) -> Result<Running, ScenarioError> {
    let boot = world.primary.boot_after(&world.machine, before.boot.number).await;
    edge::say_hello(world, &boot, BOOT_WITHIN).await?;
    let findings = boot.guest.race("its findings", BOOT_WITHIN, boot.guest.witness().check()).await?;
    let initial_record = findings.ledger.contiguous;
    if initial_record < before.last_record() {
        let (had, kept) = (before.last_record(), initial_record);
        return Err(ScenarioError::Inconclusive(format!(
            "the source's own disks lost records {} to {had} in a power cut",
            kept + 1
        )));
    }
    let epoch = u32::try_from(world.findings().boots_ms.len()).unwrap_or(u32::MAX);
    boot.guest.witness().start(&load(epoch)).await?;
    Ok(Running { site: before.site, boot, initial_record })
}

/// FO-07, LC-10: an unplanned failover goes on although the source does not shut down, and says so.
async fn fail_over_refused(world: &ScenarioContext, source: &Running) -> Result<Running, ScenarioError> {
    world.enter(REFUSED);
    edge::await_work(world, REFUSED, source).await?;
    world.primary.inject(&Fault::ShutdownRefused(world.machine.clone())).await?;
    let before = world.core.item(&world.item).await?;
    let trigger = Instant::now();
    let out = FailoverRequest {
        shut_down_source: true,
        shutdown_within: REFUSED_WITHIN,
        ..failover::request(world, Direction::PrimaryToRecovery)
    };
    let job = world.core.failover(&out).await?;
    let recovered = edge::recover(world, REFUSED, &world.recovery, &world.machine, 0, &job).await?;
    let runs = !source.boot.guest.is_gone();
    let warned = recovered.job.steps.iter().any(|step| step.state == StepState::Warning);
    let told = warned && recovered.job.state == JobState::CompletedWithWarning;
    let found = format!(
        "the source ran on: {runs}; the job ended {:?}, a step warned: {warned}",
        recovered.job.state
    );
    world.check(FO_07, runs && told, found.clone());
    world.check(LC_10, told, found);
    let point = failover::chosen_point(world, &before).await?;
    let dir = world.edge_dir(REFUSED)?;
    let judged = edge::with_point(&world.recovery, &point, &dir, async |files| {
        failover::check_hydration(world, &recovered.boot, &files).await?;
        let disks_under_test = failover::disks_under_test(&source.boot, &recovered.boot, &files);
        edge::judge(world, REFUSED, disks_under_test, source.initial_record).await
    })
    .await?;
    let acks = source.boot.guest.witness().acks();
    let rpo: Rpo = measure::rpo(&acks, recovered.findings.ledger.contiguous, trigger, judged.0.lost);
    let rto = recovered.rto(world, trigger, false).await;
    let inside = edge::inside_agrees(&recovered.findings, &judged.0);
    edge::conclude(world, REFUSED, judged, rpo, rto, inside).await?;
    // Both run; which one serves is the operator's to say, who pulls the source's plug.
    world.primary.power_off(&world.machine).await?;
    world.primary.heal().await?;
    let running = edge::put_to_work(world, &world.recovery, &recovered).await?;
    failover::commit(world, REFUSED, &running, &point).await?;
    Ok(running)
}

/// Volumes of a site on which none of `disks` stands.
async fn strays<'a>(site: &StandInSite, disks: impl Iterator<Item = &'a contract::VolumeId>) -> Vec<String> {
    let mut used = Vec::new();
    for disk in disks {
        used.extend(site.files_of(disk).await.into_iter().map(|(path, _)| path));
    }
    let all = site.volume_files().await;
    all.into_iter().filter(|(_, path, _)| !used.contains(path)).map(|(id, ..)| id.0).collect()
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
