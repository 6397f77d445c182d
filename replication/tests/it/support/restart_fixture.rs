//! A core in a process that can be killed, and another core that takes its place over the same
//! directory and sites.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    DataSync, FailoverRequest, ItemId, ItemView, JobId, JobState, MachineView, Millis, Phase, Platform,
    PointChoice, PointId, PowerState, RecoveryPoint, ReplicationCore, Side, SiteId, TestFailoverRequest,
    Timestamp,
};
use simulator::testbed::{
    BACK, Boots, CoreParts, INTERVAL, JobFailed, OUT, Setup, Testbed, TestbedError, cloud_machine,
    enable_request, item_of, patiently, test_machine,
};
use simulator::{
    Cut, End, SimBoot, SimInstall, SimProcess, SimProfile, SimSite, SimWorld, cut_of, last_record,
};

use super::named_calls::{CallNames, NamedCalls};
use super::{open_core_over, running_disks_untouched};

pub const MACHINE: &str = "web";
/// How many points the policy keeps.
const KEEP: u32 = 2;
/// Time between the death of a process and the start of the next.
const DOWN: Millis = Millis(3000);

/// One stage of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Enable,
    /// Wait until so many points were processed in this direction; four of them make a merge due.
    Points(u64),
    TestFailover,
    CleanUp,
    /// Lose the primary site, then fail over unplanned to the latest point.
    FailOver,
    PlannedFailOver,
    Commit,
    ReprotectBack,
    FailBack,
    ReprotectOut,
    PlannedFailBack(DataSync),
    ReverseReplicate,
    /// Change to the oldest point.
    ChangePoint,
    Disable,
}

use Stage::{
    ChangePoint, CleanUp, Commit, Disable, Enable, FailBack, FailOver, PlannedFailBack, PlannedFailOver,
    Points, ReprotectBack, ReprotectOut, ReverseReplicate, TestFailover,
};

/// When the core's process dies in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// At a call, counted from the beginning of the stage, before or after the call takes effect.
    At { call: u64, takes_effect: bool },
    /// At a call, and the next process dies at call number `again` of its own, if it makes so many.
    Twice { call: u64, takes_effect: bool, again: u64 },
    /// While the core's job waits to be completed.
    Waiting,
}

/// What a stage left behind, as text by topic.
pub type Remains = BTreeMap<&'static str, String>;

/// A testbed whose core runs in a process that can be killed.
pub struct RestartFixture {
    testbed: Testbed,
    process: Arc<SimProcess>,
    names: CallNames,
    disaster: Option<Timestamp>,
    /// The process dies as soon as its job waits to be completed.
    dies_waiting: Cell<bool>,
}

impl RestartFixture {
    /// Installs a machine on the primary site and starts it.
    pub async fn new(world: SimWorld, profile: SimProfile) -> Self {
        let process = SimProcess::new();
        let names = CallNames::default();
        let setup = Setup::of(profile).keeping(KEEP);
        let testbed = Testbed::open(world, setup, |parts| open(parts, &process, &names)).unwrap();
        testbed.primary.install(&SimInstall::new(MACHINE)).unwrap();
        testbed.primary.start(&MACHINE.into()).await.unwrap();
        testbed.advance(Millis(10_000)).await;
        Self { testbed, process, names, disaster: None, dies_waiting: Cell::new(false) }
    }

    /// Goes through a stage. If a death is given, the process dies on the way, and a new core has
    /// to finish the stage. Returns how many calls the stage took and what it left behind.
    pub async fn take(&mut self, stage: Stage, death: Option<Death>) -> Result<(u64, Remains), String> {
        self.prepare(stage).await;
        let from = self.process.calls();
        match death {
            None => self.work(stage, &mut None).await?,
            Some(death) => self.die_and_resume(stage, death).await?,
        }
        // A new process counts its calls from the beginning.
        let calls = self.process.calls().saturating_sub(from);
        let mut remains = self.remains().await;
        remains.extend(self.recovered(stage)?.map(|record| ("record", record.to_string())));
        running_disks_untouched(&self.testbed, MACHINE)?;
        self.points_are_intact().await?;
        Ok((calls, remains))
    }

    /// The name of a call of the first process.
    pub fn name(&self, call: u64) -> String {
        self.names.lock().unwrap().get(&call).cloned().unwrap_or_default()
    }

    pub fn calls(&self) -> u64 {
        self.process.calls()
    }

    pub async fn close(&self) {
        self.testbed.core.close().await.unwrap();
    }

    /// Checks that new points come, if the item replicates.
    pub async fn continues(&self) -> Result<(), String> {
        if !self
            .testbed
            .core
            .item(&item_id())
            .await
            .is_ok_and(|view| view.protection.phase == Phase::Protected)
        {
            return Ok(());
        }
        let now = self.testbed.world.clock().now();
        for _ in 0..3 {
            self.testbed.advance(INTERVAL).await;
            let newest = self.item().await.points.into_iter().rfind(|point| point.processed);
            if newest.is_some_and(|point| point.time > now) {
                return self.points_are_intact().await;
            }
        }
        let view = self.item().await;
        Err(format!("no new point in three intervals: {:?} {}", view.health, view.trouble))
    }

    async fn item(&self) -> ItemView {
        self.testbed.core.item(&item_id()).await.unwrap()
    }

    async fn restart(&mut self) {
        self.testbed.advance(DOWN).await;
        // The names of the first process stay, because they name the call at which it died.
        self.process = SimProcess::new();
        self.testbed.core = open(self.testbed.parts(), &self.process, &CallNames::default()).unwrap();
    }

    /// Does what a stage needs from outside the core.
    async fn prepare(&mut self, stage: Stage) {
        match stage {
            FailOver => {
                self.disaster = Some(self.testbed.primary.lose());
                self.testbed.advance(Millis(1000)).await;
            }
            ReprotectBack => {
                self.testbed.advance(INTERVAL).await;
                self.testbed.primary.restore();
            }
            _ => {}
        }
    }

    /// Lets the process die in a stage; new cores have to finish the stage.
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
            return Err("the stage ended before the call at which the process was to die".to_owned());
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
        // A death that was not reached must not come in a later stage.
        self.process.die_at(u64::MAX, false);
        self.points_are_kept(stage, &before).await
    }

    /// Works until the process dies. Returns whether it died; if not, the work is done.
    async fn until_death(&self, work: impl Future<Output = Result<(), String>>) -> Result<bool, String> {
        tokio::select! {
            biased;
            () = self.process.died() => return Ok(true),
            ended = work => ended?,
        }
        // The process may die at the end of the work.
        Ok(tokio::time::timeout(Duration::from_millis(5), self.process.died()).await.is_ok())
    }

    /// Does a stage's work up to its end.
    async fn work(&self, stage: Stage, job: &mut Option<JobId>) -> Result<(), String> {
        if let Points(count) = stage {
            return self.points(count).await;
        }
        let asked = self.ask(stage).await?;
        *job = Some(asked.clone());
        self.follow(&asked).await
    }

    /// Follows the work that was under way when the process died to its end.
    async fn resume(&self, stage: Stage, job: Option<JobId>) -> Result<(), String> {
        // The job may be stored although the process died before it answered.
        let active = async { self.testbed.core.item(&item_id()).await.ok().and_then(|view| view.job) };
        let stored = if matches!(stage, Points(_)) || job.is_some() { job } else { active.await };
        match stored {
            Some(job) => self.follow(&job).await,
            None => self.work(stage, &mut None).await,
        }
    }

    async fn points(&self, count: u64) -> Result<(), String> {
        self.testbed.wait_for_points(&item_id(), count).await.map_err(|error| error.to_string())?;
        self.testbed.advance(Millis(1234)).await;
        Ok(())
    }

    /// Follows a job to its end, which must be a success. A job that waits to be completed is
    /// completed.
    async fn follow(&self, job: &JobId) -> Result<(), String> {
        let follow = async {
            let mut view = self.testbed.core.job(job).await?;
            while !view.state.ended() {
                if view.state == JobState::WaitingForCompletion {
                    if self.dies_waiting.take() {
                        self.process.kill();
                        std::future::pending::<()>().await;
                    }
                    self.testbed.advance(Millis(10_000)).await;
                    self.testbed.core.complete_failover(&item_id()).await?;
                    // The request takes effect when the job continues.
                    self.testbed.world.settle().await;
                    view = self.testbed.core.job(job).await?;
                    continue;
                }
                view = self.testbed.core.watch_job(job, view.revision).await?;
            }
            Ok::<_, contract::CoreError>(view)
        };
        let followed = patiently(format!("the end of {job}"), follow).await;
        let view = followed.map_err(|error| format!("{job}: {error}"))?;
        if !matches!(view.state, JobState::Completed | JobState::CompletedWithWarning) {
            return Err(TestbedError::from(JobFailed::from(view)).to_string());
        }
        self.testbed.world.settle().await;
        Ok(())
    }

    async fn ask(&self, stage: Stage) -> Result<JobId, String> {
        let item = item_id();
        let core = &self.testbed.core;
        let failover = async |request: FailoverRequest| core.failover(&request).await;
        let reprotect = async |direction| core.reprotect(&self.testbed.reprotection(&item, direction)).await;
        let answer = match stage {
            Enable | Points(_) => {
                self.testbed.make_policy().await.map_err(|error| error.to_string())?;
                core.enable_protection(&enable_request(MACHINE)).await
            }
            TestFailover => {
                core.test_failover(&TestFailoverRequest::isolated(&item, PointChoice::Latest)).await
            }
            CleanUp => core.clean_up_test_failover(&item).await,
            FailOver => failover(FailoverRequest::unplanned(&item, OUT)).await,
            FailBack => failover(FailoverRequest::unplanned(&item, BACK)).await,
            PlannedFailOver => failover(FailoverRequest::planned(&item, OUT)).await,
            PlannedFailBack(sync) => {
                let data_sync = Some(sync);
                failover(FailoverRequest { data_sync, ..FailoverRequest::planned(&item, BACK) }).await
            }
            Commit => core.commit(&item).await,
            ReprotectBack => reprotect(BACK).await,
            ReprotectOut => reprotect(OUT).await,
            ReverseReplicate => core.reverse_replicate(&item).await,
            ChangePoint => {
                let oldest = self.item().await.points.first().map(|point| point.id.clone());
                core.change_point(&item, &PointChoice::Custom(oldest.ok_or("no point")?)).await
            }
            Disable => core.disable_protection(&item).await,
        };
        answer.map_err(|error| format!("refused: {error}"))
    }

    /// What the core shows, and what is at the sites. Volumes of points are left out, because the
    /// number of points depends on time.
    pub async fn remains(&self) -> Remains {
        let mut remains = Remains::new();
        let view = self.testbed.core.item(&item_id()).await.ok();
        if let Some(view) = &view {
            remains.insert("state", format!("{:?}", view.protection));
            remains.insert("health", format!("{:?} {}", view.health, view.trouble));
            remains.insert("failed over to a point", view.failed_over_to.is_some().to_string());
            remains
                .insert("test failover", format!("{:?} {:?}", view.test_failover, view.test_failover_status));
            remains.insert("incomplete synchronisation", view.synchronisation_incomplete.to_string());
            remains.insert("allowed", format!("{:?}", view.allowed));
            remains.insert("active job", format!("{:?}", view.job));
        }
        let points = view.map(|view| view.points).unwrap_or_default();
        let of_points: BTreeSet<_> =
            points.iter().flat_map(|point| &point.volumes).map(|(_, volume)| volume.clone()).collect();
        let titles = [
            ["primary machines", "primary volumes", "primary open"],
            ["recovery machines", "recovery volumes", "recovery open"],
        ];
        for (site, [machines, volumes, open]) in
            [&self.testbed.primary, &self.testbed.recovery].into_iter().zip(titles)
        {
            remains.insert(machines, machines_of(site).await);
            let others = site.volumes().into_iter().filter(|id| !of_points.contains(id)).count();
            remains.insert(volumes, format!("{others} besides points"));
            remains.insert(open, site.left_open().to_string());
        }
        let waiting = points.iter().filter(|point| !point.processed).count();
        remains.insert(
            "landing log",
            format!("{} files without a transfer", landing_files(self.testbed.dir()).abs_diff(waiting)),
        );
        remains
    }

    /// The points that the core lists as processed.
    async fn processed_points(&self) -> Vec<(PointId, Timestamp)> {
        let listed = self.testbed.core.item(&item_id()).await.map(|view| view.points).unwrap_or_default();
        listed.into_iter().filter(|point| point.processed).map(|point| (point.id, point.time)).collect()
    }

    /// Checks that no point is gone that was listed before, apart from those that retention
    /// removes.
    async fn points_are_kept(&self, stage: Stage, before: &[(PointId, Timestamp)]) -> Result<(), String> {
        if matches!(stage, Commit | FailBack | PlannedFailBack(_) | Disable) {
            return Ok(());
        }
        let now = self.processed_points().await;
        let is_lost = |point: &&(PointId, Timestamp)| {
            let newer = now.iter().filter(|other| other.1 > point.1).count();
            !now.contains(point) && newer < KEEP as usize
        };
        match before.iter().find(is_lost) {
            Some((id, _)) => Err(format!("point {id} is gone; the points are {now:?}")),
            None => Ok(()),
        }
    }

    /// The last boot of the machine on one side.
    fn boot_on(&self, side: Side) -> Arc<SimBoot> {
        let boot = match side {
            Side::Primary => self.testbed.primary.last_boot(&MACHINE.into()),
            Side::Recovery => self.testbed.recovery.last_boot(&cloud_machine(MACHINE)),
        };
        boot.expect("a boot")
    }

    /// The boots that a stage has to lead to; `None` if it starts no machine.
    fn boots_of(&self, stage: Stage) -> Option<Boots> {
        let (source, target) = match stage {
            TestFailover => {
                let target = self.testbed.recovery.last_boot(&test_machine(MACHINE));
                (self.boot_on(Side::Primary), target.expect("a test failover"))
            }
            FailOver | PlannedFailOver | ChangePoint => {
                (self.boot_on(Side::Primary), self.boot_on(Side::Recovery))
            }
            FailBack | PlannedFailBack(_) => (self.boot_on(Side::Recovery), self.boot_on(Side::Primary)),
            _ => return None,
        };
        Some(Boots { source, target })
    }

    /// Checks that the machine that a stage started has an exact prefix of what its source wrote,
    /// and everything where nothing may be lost. Returns the last record after a failover from a
    /// lost site.
    fn recovered(&self, stage: Stage) -> Result<Option<u64>, String> {
        let Some(boots) = self.boots_of(stage) else { return Ok(None) };
        let contained = boots.contained().map_err(|error| error.to_string())?;
        let Boots { source, target } = &boots;
        if let Err(why) = &target.up {
            return Err(format!("{} does not come up: {why}", target.machine));
        }
        if matches!(stage, PlannedFailOver | FailBack | PlannedFailBack(_)) {
            let all = source.log().len();
            let shut_down = source.ended().is_some_and(|(_, end)| end == End::ShutDown);
            if contained.writes != all || !shut_down {
                return Err(format!("{} of {all} writes arrived; {:?}", contained.writes, source.ended()));
            }
        }
        if let (FailOver, Some(disaster)) = (stage, self.disaster) {
            let lost = boots.lost(contained.last_record, disaster);
            if lost.0 > 2 * INTERVAL.0 {
                return Err(format!("{lost} lost"));
            }
            return Ok(Some(contained.last_record));
        }
        Ok(None)
    }

    /// Checks that every processed point contains exactly what its source had at the point's time.
    async fn points_are_intact(&self) -> Result<(), String> {
        let Ok(view) = self.testbed.core.item(&item_id()).await else { return Ok(()) };
        let source = match (view.protection.phase, view.protection.active) {
            (Phase::Protected, active) => active,
            (Phase::CommitPending, Side::Recovery) => Side::Primary,
            _ => return Ok(()),
        };
        let site = if source == Side::Primary { &self.testbed.recovery } else { &self.testbed.primary };
        let boot = self.boot_on(source);
        view.points
            .iter()
            .filter(|point| point.processed)
            .try_for_each(|point| point_is_intact(site, &boot, point))
    }
}

fn point_is_intact(site: &SimSite, source: &SimBoot, point: &RecoveryPoint) -> Result<(), String> {
    let content: Option<Vec<_>> = point.volumes.iter().map(|(_, volume)| site.snapshot(volume)).collect();
    let content = content.ok_or_else(|| format!("the volumes of {} are gone", point.id))?;
    let log = source.log();
    let Cut::Exact(range) = cut_of(&source.bases(), &log, &content, &[]) else {
        return Err(format!("{} never existed on its source", point.id));
    };
    let moment = Timestamp(point.time.0.saturating_sub(1));
    let due = source.acked_by(moment).map_or(0, |ack| ack.number);
    let early = log.get(*range.start().min(&log.len())).is_some() && last_record(&log, *range.end()) < due;
    let late = range.start().checked_sub(1).and_then(|at| log.get(at)).is_some_and(|w| w.at > point.time);
    if early || late {
        return Err(format!("{} does not contain the state at its time", point.id));
    }
    Ok(())
}

/// The machines of a site and whether they run.
async fn machines_of(site: &SimSite) -> String {
    match site.machines().await {
        Ok(machines) => {
            let show = |view: &MachineView| {
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

/// The number of files in the landing log.
fn landing_files(dir: &Path) -> usize {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries(&dir.join("landing")).map(|item| entries(&item.path()).count());
    files.sum()
}

fn item_id() -> ItemId {
    item_of(MACHINE)
}

/// Opens a core whose calls to the primary and the recovery site belong to a process.
fn open(
    parts: CoreParts,
    process: &Arc<SimProcess>,
    names: &CallNames,
) -> Result<Arc<dyn ReplicationCore>, contract::CoreError> {
    let named = |id: &'static str| -> (SiteId, Arc<dyn Platform>) {
        (id.into(), NamedCalls::around(id, process, &parts.sites[&id.into()], names))
    };
    let platforms: BTreeMap<_, _> = ["primary", "recovery"].map(named).into();
    open_core_over(platforms, parts, None)
}
