//! A core whose process can be killed and which is opened again over the same directory and sites.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    DataSync, FailoverKind, FailoverRequest, ItemId, ItemView, JobId, JobState, MachineId, Millis, Network,
    Phase, Platform, PointChoice, PointId, PowerState, RecoveryPoint, ReplicationCore, Side, SiteId,
    TestFailoverRequest, Timestamp,
};
use replication::{Clock, Config, Core};
use simulator::{
    Cut, End, SimBoot, SimConfig, SimInstall, SimProcess, SimProfile, SimSite, SimWorld, cut_of, last_record,
};
use tempfile::TempDir;

use super::noted::{Names, Noted};
use super::{
    BACK, INTERVAL, OUT, POLICY, dr, enable, exact, failover, in_memory, lost, policy, reprotection,
};

pub const MACHINE: &str = "web";
const KEEP: u32 = 2;
/// Virtual time that no operation needs.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// Between a death and the restart.
const DOWN: Millis = Millis(3000);

/// One stage of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Enable,
    /// Until so many points were processed in this direction; enough of them make a merge due.
    Points(u64),
    TestFailover,
    CleanUp,
    /// The primary site is lost, then an unplanned failover to the latest point.
    FailOver,
    PlannedFailOver,
    Commit,
    ReprotectBack,
    FailBack,
    ReprotectOut,
    PlannedFailBack(DataSync),
    ReverseReplicate,
    /// To the oldest point.
    ChangePoint,
    Disable,
}

use Stage::{
    ChangePoint, CleanUp, Commit, Disable, Enable, FailBack, FailOver, PlannedFailBack, PlannedFailOver,
    Points, ReprotectBack, ReprotectOut, ReverseReplicate, TestFailover,
};

/// When a core's process dies in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// At a call, counted from the beginning of the stage, before or after that takes effect.
    At { call: u64, takes_effect: bool },
    /// The same, and the next process dies as well, at that call of its own if it comes so far.
    Twice { call: u64, takes_effect: bool, again: u64 },
    /// While its job waits to be completed.
    Waiting,
}

/// What a stage left behind, in words, by what it is about.
pub type Left = BTreeMap<&'static str, String>;

/// A core between two sites, in a process.
pub struct House {
    pub world: SimWorld,
    primary: Arc<SimSite>,
    recovery: Arc<SimSite>,
    process: Arc<SimProcess>,
    names: Names,
    core: Core,
    dir: TempDir,
    struck: Option<Timestamp>,
    /// Dies once its job waits.
    dies_waiting: Cell<bool>,
}

impl House {
    /// With a machine that runs on the primary side.
    pub async fn new(world: SimWorld, profile: SimProfile) -> Self {
        let primary = world.site(SimConfig::new("primary", profile));
        let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
        primary.install(&SimInstall::new(MACHINE)).unwrap();
        primary.start(&MACHINE.into()).await.unwrap();
        let (dir, process, names) = (in_memory(), SimProcess::new(), Names::default());
        let core = open(dir.path(), &process, [&primary, &recovery], &names);
        let (struck, dies_waiting) = (None, Cell::new(false));
        let house = Self { world, primary, recovery, process, names, core, dir, struck, dies_waiting };
        house.live(Millis(10_000)).await;
        house
    }

    /// Goes through a stage, dying on the way if told to; then a new core has to bring it to its end. Returns how
    /// many calls it took and what it left.
    pub async fn take(&mut self, stage: Stage, death: Option<Death>) -> Result<(u64, Left), String> {
        self.prepare(stage).await;
        let from = self.process.calls();
        match death {
            None => self.work(stage, &mut None).await?,
            Some(death) => self.die_and_resume(stage, death).await?,
        }
        // A new process counts anew.
        let calls = self.process.calls().saturating_sub(from);
        let mut left = self.left().await;
        left.extend(self.recovered(stage)?.map(|record| ("record", record.to_string())));
        self.untouched()?;
        self.points_hold().await?;
        Ok((calls, left))
    }

    /// What a call of the first process is named.
    pub fn name(&self, call: u64) -> String {
        self.names.lock().unwrap().get(&call).cloned().unwrap_or_default()
    }

    pub fn calls(&self) -> u64 {
        self.process.calls()
    }

    pub async fn close(&self) {
        self.core.close().await.unwrap();
    }

    /// New points come as they should, if any should.
    pub async fn goes_on(&self) -> Result<(), String> {
        if !self.core.item(&item()).await.is_ok_and(|view| view.protection.phase == Phase::Protected) {
            return Ok(());
        }
        let now = self.world.clock().now();
        for _ in 0..3 {
            self.live(INTERVAL).await;
            let newest = self.item().await.points.into_iter().rfind(|point| point.processed);
            if newest.is_some_and(|point| point.time > now) {
                return self.points_hold().await;
            }
        }
        let view = self.item().await;
        Err(format!("no new point in three intervals: {:?} {}", view.health, view.trouble))
    }

    async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    async fn item(&self) -> ItemView {
        self.core.item(&item()).await.unwrap()
    }

    async fn restart(&mut self) {
        self.live(DOWN).await;
        // What the dead one was called does not matter any more, but its names are those of the failure.
        self.process = SimProcess::new();
        let sites = [&self.primary, &self.recovery];
        self.core = open(self.dir.path(), &self.process, sites, &Names::default());
    }

    /// What happens around the core.
    async fn prepare(&mut self, stage: Stage) {
        match stage {
            FailOver => {
                self.struck = Some(self.primary.lose());
                self.live(Millis(1000)).await;
            }
            ReprotectBack => {
                self.live(INTERVAL).await;
                self.primary.restore();
            }
            _ => {}
        }
    }

    /// Dies in a stage; new cores bring it to its end.
    async fn die_and_resume(&mut self, stage: Stage, death: Death) -> Result<(), String> {
        let again = match death {
            Death::At { call, takes_effect } | Death::Twice { call, takes_effect, .. } => {
                self.process.die_at(self.process.calls() + call, takes_effect);
                if let Death::Twice { again, .. } = death { Some(again) } else { None }
            }
            Death::Waiting => {
                self.dies_waiting.set(true);
                None
            }
        };
        let mut job = None;
        if !self.until_death(self.work(stage, &mut job)).await? {
            return Err("the call at which to die never came".to_owned());
        }
        let before = self.processed_points().await;
        self.restart().await;
        if let Some(again) = again {
            self.process.die_at(again, again.is_multiple_of(2));
        }
        if self.until_death(self.resume(stage, job.clone())).await? {
            self.restart().await;
            self.resume(stage, job).await?;
        }
        // A death that did not come is not due later.
        self.process.die_at(u64::MAX, false);
        self.points_kept(stage, &before).await
    }

    /// Works until the process dies. Returns whether it did; without that the work is done.
    async fn until_death(&self, work: impl Future<Output = Result<(), String>>) -> Result<bool, String> {
        tokio::select! {
            biased;
            () = self.process.died() => return Ok(true),
            ended = work => ended?,
        }
        // It may die at the very end.
        Ok(tokio::time::timeout(Duration::from_millis(5), self.process.died()).await.is_ok())
    }

    /// The stage's own work, up to its end.
    async fn work(&self, stage: Stage, job: &mut Option<JobId>) -> Result<(), String> {
        if let Points(count) = stage {
            return self.points(count).await;
        }
        let asked = self.ask(stage).await?;
        *job = Some(asked.clone());
        self.follow(&asked).await
    }

    /// What was under way when the process died, to its end.
    async fn resume(&self, stage: Stage, job: Option<JobId>) -> Result<(), String> {
        // It may have been stored without its name having been told.
        let held = async { self.core.item(&item()).await.ok().and_then(|view| view.job) };
        let stored = if matches!(stage, Points(_)) || job.is_some() { job } else { held.await };
        match stored {
            Some(job) => self.follow(&job).await,
            None => self.work(stage, &mut None).await,
        }
    }

    async fn points(&self, count: u64) -> Result<(), String> {
        let seen = tokio::time::timeout(PATIENCE, self.core.watch_points(&item(), count)).await;
        seen.map_err(|_| format!("point {count} never came"))?.map_err(|error| error.message)?;
        self.live(Millis(1234)).await;
        Ok(())
    }

    /// Follows a job to its end, which must be good; one that waits is told to go on.
    async fn follow(&self, job: &JobId) -> Result<(), String> {
        let follow = async {
            let mut view = self.core.job(job).await?;
            while !view.state.ended() {
                if view.state == JobState::WaitingForCompletion {
                    if self.dies_waiting.take() {
                        self.process.kill();
                        std::future::pending::<()>().await;
                    }
                    self.live(Millis(10_000)).await;
                    self.core.complete_failover(&item()).await?;
                    // Its answer takes effect once the job moves on.
                    self.world.settle().await;
                    view = self.core.job(job).await?;
                    continue;
                }
                view = self.core.watch_job(job, view.revision).await?;
            }
            Ok::<_, contract::CoreError>(view)
        };
        let ended = tokio::time::timeout(PATIENCE, follow).await;
        let view =
            ended.map_err(|_| format!("{job} never ended"))?.map_err(|error| format!("{job}: {error}"))?;
        if view.state != JobState::Completed {
            let step = view.steps.last().map(|step| step.name.clone()).unwrap_or_default();
            let error = view.error.map(|error| error.message).unwrap_or_default();
            return Err(format!("{job} ended {:?} in {step:?}: {error}", view.state));
        }
        self.world.settle().await;
        Ok(())
    }

    async fn ask(&self, stage: Stage) -> Result<JobId, String> {
        let (item, core) = (item(), &self.core);
        let reprotect = |direction| reprotection(&item, direction);
        let planned = |direction, data_sync| FailoverRequest {
            kind: FailoverKind::Planned,
            data_sync,
            shut_down_source: true,
            ..failover(&item, direction)
        };
        let asked = match stage {
            Enable | Points(_) => {
                let missing = core.policies().await.is_ok_and(|all| all.is_empty());
                if missing {
                    let made = policy(self.primary.profile().kind, KEEP);
                    core.create_policy(&POLICY.into(), &made).await.map_err(|error| error.message)?;
                }
                core.enable_protection(&enable(&item, MACHINE)).await
            }
            TestFailover => {
                let (point, network) = (PointChoice::Latest, Network::Isolated);
                core.test_failover(&TestFailoverRequest { item: item.clone(), point, network }).await
            }
            CleanUp => core.clean_up_test_failover(&item).await,
            FailOver => core.failover(&failover(&item, OUT)).await,
            FailBack => core.failover(&failover(&item, BACK)).await,
            PlannedFailOver => core.failover(&planned(OUT, None)).await,
            PlannedFailBack(sync) => core.failover(&planned(BACK, Some(sync))).await,
            Commit => core.commit(&item).await,
            ReprotectBack => core.reprotect(&reprotect(BACK)).await,
            ReprotectOut => core.reprotect(&reprotect(OUT)).await,
            ReverseReplicate => core.reverse_replicate(&item).await,
            ChangePoint => {
                let oldest = self.item().await.points.first().map(|point| point.id.clone());
                core.change_point(&item, &PointChoice::Custom(oldest.ok_or("no point")?)).await
            }
            Disable => core.disable_protection(&item).await,
        };
        asked.map_err(|error| format!("refused: {error}"))
    }

    /// What is shown, and what lies on the sites. Volumes of listed points are left out: how many points there are
    /// is a matter of time.
    pub async fn left(&self) -> Left {
        let mut left = Left::new();
        let view = self.core.item(&item()).await.ok();
        if let Some(view) = &view {
            left.insert("state", format!("{:?}", view.protection));
            left.insert("health", format!("{:?} {}", view.health, view.trouble));
            left.insert("failed over to a point", view.failed_over_to.is_some().to_string());
            left.insert("test failover", format!("{:?} {:?}", view.test_failover, view.test_failover_status));
            left.insert("half synchronised", view.synchronisation_incomplete.to_string());
            left.insert("allowed", format!("{:?}", view.allowed));
            left.insert("held by", format!("{:?}", view.job));
        }
        let points = view.map(|view| view.points).unwrap_or_default();
        let of_points: BTreeSet<_> =
            points.iter().flat_map(|point| &point.volumes).map(|(_, volume)| volume.clone()).collect();
        let titles = [
            ["primary machines", "primary volumes", "primary open"],
            ["recovery machines", "recovery volumes", "recovery open"],
        ];
        for (site, [machines, volumes, open]) in [&self.primary, &self.recovery].into_iter().zip(titles) {
            left.insert(machines, machines_of(site).await);
            let others = site.volumes().into_iter().filter(|id| !of_points.contains(id)).count();
            left.insert(volumes, format!("{others} besides points"));
            left.insert(open, site.left_open().to_string());
        }
        let waiting = points.iter().filter(|point| !point.processed).count();
        left.insert(
            "landing log",
            format!("{} files for no transfer", landed(self.dir.path()).abs_diff(waiting)),
        );
        left
    }

    /// Points that are listed as processed.
    async fn processed_points(&self) -> Vec<(PointId, Timestamp)> {
        let listed = self.core.item(&item()).await.map(|view| view.points).unwrap_or_default();
        listed.into_iter().filter(|point| point.processed).map(|point| (point.id, point.time)).collect()
    }

    /// No point is gone that was listed before, except to retention.
    async fn points_kept(&self, stage: Stage, before: &[(PointId, Timestamp)]) -> Result<(), String> {
        if matches!(stage, Commit | FailBack | PlannedFailBack(_) | Disable) {
            return Ok(());
        }
        let now = self.processed_points().await;
        let is_lost = |point: &&(PointId, Timestamp)| {
            let newer = now.iter().filter(|other| other.1 > point.1).count();
            !now.contains(point) && newer < KEEP as usize
        };
        match before.iter().find(is_lost) {
            Some((id, _)) => Err(format!("point {id} is gone; there are {now:?}")),
            None => Ok(()),
        }
    }

    /// Side a machine is on, with its last boot.
    fn boot_on(&self, side: Side) -> Arc<SimBoot> {
        let boot = match side {
            Side::Primary => self.primary.last_boot(&MACHINE.into()),
            Side::Recovery => self.recovery.last_boot(&dr(MACHINE)),
        };
        boot.expect("a boot")
    }

    /// What was started by a stage is an exact prefix of what ran before, and all of it where nothing may be lost.
    /// Returns the last record.
    fn recovered(&self, stage: Stage) -> Result<Option<u64>, String> {
        let (source, target) = match stage {
            TestFailover => {
                let test = MachineId(format!("{}-test", dr(MACHINE)));
                (self.boot_on(Side::Primary), self.recovery.last_boot(&test).expect("a test failover"))
            }
            FailOver | PlannedFailOver | ChangePoint => {
                (self.boot_on(Side::Primary), self.boot_on(Side::Recovery))
            }
            FailBack | PlannedFailBack(_) => (self.boot_on(Side::Recovery), self.boot_on(Side::Primary)),
            _ => return Ok(None),
        };
        let (writes, record) = exact(&source, &target);
        if let Err(why) = &target.up {
            return Err(format!("{} does not come up: {why}", target.machine));
        }
        let all = source.log().len();
        if matches!(stage, PlannedFailOver | FailBack | PlannedFailBack(_)) {
            let in_order = source.ended().is_some_and(|(_, end)| end == End::ShutDown);
            if writes != all || !in_order {
                return Err(format!("{} of {all} writes arrived; {:?}", writes, source.ended()));
            }
        }
        if let (FailOver, Some(struck)) = (stage, self.struck) {
            let lost = lost(&source, record, struck);
            if lost.0 > 2 * INTERVAL.0 {
                return Err(format!("{lost} lost"));
            }
            return Ok(Some(record));
        }
        Ok(None)
    }

    /// A machine that runs has on its disks what its own guest wrote.
    fn untouched(&self) -> Result<(), String> {
        for (site, machine) in [(&self.primary, MACHINE.into()), (&self.recovery, dr(MACHINE))] {
            let (Some(boot), Some(spec)) = (site.last_boot(&machine), site.spec(&machine)) else { continue };
            if boot.ended().is_some() {
                continue;
            }
            let volumes: Vec<_> = spec.disks.iter().map(|(_, volume)| volume.clone()).collect();
            let now: Option<Vec<_>> = volumes.iter().map(|volume| site.snapshot(volume)).collect();
            let now = now.ok_or_else(|| format!("{machine} runs on disks that are gone: {volumes:?}"))?;
            let log = boot.log();
            let cut = cut_of(&boot.bases(), &log, &now, &[]);
            if !matches!(&cut, Cut::Exact(range) if *range.end() == log.len()) {
                return Err(format!("disks of {machine} were changed under it: {cut:?}"));
            }
        }
        Ok(())
    }

    /// Every listed point holds exactly what its source had at that moment.
    async fn points_hold(&self) -> Result<(), String> {
        let Ok(view) = self.core.item(&item()).await else { return Ok(()) };
        let source = match (view.protection.phase, view.protection.active) {
            (Phase::Protected, active) => active,
            (Phase::CommitPending, Side::Recovery) => Side::Primary,
            _ => return Ok(()),
        };
        let site = if source == Side::Primary { &self.recovery } else { &self.primary };
        let boot = self.boot_on(source);
        view.points
            .iter()
            .filter(|point| point.processed)
            .try_for_each(|point| point_holds(site, &boot, point))
    }
}

fn point_holds(site: &SimSite, source: &SimBoot, point: &RecoveryPoint) -> Result<(), String> {
    let content: Option<Vec<_>> = point.volumes.iter().map(|(_, volume)| site.snapshot(volume)).collect();
    let content = content.ok_or_else(|| format!("{} stands on volumes that are gone", point.id))?;
    let log = source.log();
    let Cut::Exact(range) = cut_of(&source.bases(), &log, &content, &[]) else {
        return Err(format!("{} never existed on its source", point.id));
    };
    let moment = Timestamp(point.time.0.saturating_sub(1));
    let due = source.acked_by(moment).map_or(0, |ack| ack.number);
    let early = log.get(*range.start().min(&log.len())).is_some() && last_record(&log, *range.end()) < due;
    let late = range.start().checked_sub(1).and_then(|at| log.get(at)).is_some_and(|w| w.at > point.time);
    if early || late {
        return Err(format!("{} is not of its moment", point.id));
    }
    Ok(())
}

/// Machines of a site and whether they run.
async fn machines_of(site: &SimSite) -> String {
    match site.machines().await {
        Ok(machines) => {
            let show = |view: &contract::MachineView| {
                format!(
                    "{} {} disks{}",
                    view.id,
                    view.disks.len(),
                    if view.power == PowerState::On { ", on" } else { "" }
                )
            };
            machines.iter().map(show).collect::<Vec<_>>().join("; ")
        }
        Err(error) => format!("{:?}", error.kind),
    }
}

/// Files in the landing log.
fn landed(dir: &Path) -> usize {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries(&dir.join("landing")).map(|item| entries(&item.path()).count());
    files.sum()
}

fn item() -> ItemId {
    "item-web".into()
}

fn open(dir: &Path, process: &Arc<SimProcess>, sites: [&Arc<SimSite>; 2], names: &Names) -> Core {
    let clock = sites[0].clock().clone();
    let clock = Clock::new(move || clock.now());
    let mut platforms: BTreeMap<SiteId, Arc<dyn Platform>> = BTreeMap::new();
    for (id, site) in ["primary", "recovery"].into_iter().zip(sites) {
        platforms.insert(id.into(), Noted::around(id, process, site, names));
    }
    Core::open(Config { platforms, dir: dir.to_owned(), fault_hook: None, clock }).unwrap()
}
