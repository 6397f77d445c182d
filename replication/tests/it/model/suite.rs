//! The real thing: a core in a process that can be killed, between two simulated sites.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    CoreError, Direction, EnableProtection, FailoverRequest, ItemId, ItemView, JobId, JobState, JobView,
    MachineId, Millis, Platform, PlatformErrorKind, PointChoice, PowerState, ReplicationCore, Side, SiteId,
};
use replication::{Clock, Config, Core};
use simulator::{
    Call, FailCall, Link, Load, SimBoot, SimConfig, SimFault, SimInstall, SimProcess, SimProfile, SimSite,
    SimWorld,
};
use tempfile::TempDir;

use crate::model::reference::{Power, index};
use crate::model::rules::Kind;
use crate::model::step::{Ask, Choice, Trouble};
use crate::support::{POLICY, dr, enable, failover, in_memory, policy, reprotection, test_failover_request};

pub const MACHINE: &str = "web";
/// What a view takes to open or close, so that steps fall into the midst of transfers.
const LATENCY: Millis = Millis(300);
const LOAD: Load = Load { record_every: Millis(3000), churn_every: Millis(7000), churn_bytes: 1024 };
/// Virtual time in which every job ends or waits.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// How many points are kept, so that merges are due often.
const KEPT: u32 = 3;
/// Between a death and the restart.
const DOWN: Millis = Millis(3000);

pub struct Suite {
    pub world: SimWorld,
    pub sites: [Arc<SimSite>; 2],
    pub core: Core,
    pub process: Arc<SimProcess>,
    dir: TempDir,
    /// Calls that will fail once they are made.
    armed: Vec<(Side, Call, u64)>,
    /// Reads and writes that will fail, until all is healed.
    media: bool,
}

impl Suite {
    /// With a machine that runs and is not protected.
    pub async fn new(world: SimWorld, kind: Kind) -> Self {
        let link = Link { latency: LATENCY, ..Link::default() };
        let sites = [("primary", kind.primary()), ("recovery", SimProfile::AZURE)]
            .map(|(id, profile)| world.site(SimConfig { link, ..SimConfig::new(id, profile) }));
        sites[0].install(&SimInstall { load: LOAD, ..SimInstall::new(MACHINE) }).unwrap();
        sites[0].start(&MACHINE.into()).await.unwrap();
        let (dir, process) = (in_memory(), SimProcess::new());
        let core = open(&world, &dir, &process, &sites);
        core.create_policy(&POLICY.into(), &policy(kind.primary().kind, KEPT)).await.unwrap();
        let suite = Self { world, sites, core, process, dir, armed: Vec::new(), media: false };
        suite.live(Millis(10_000)).await;
        suite
    }

    pub async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    pub fn site(&self, side: Side) -> &Arc<SimSite> {
        &self.sites[index(side)]
    }

    /// Name of the machine that serves on a side.
    pub fn machine(side: Side) -> MachineId {
        match side {
            Side::Primary => MACHINE.into(),
            Side::Recovery => dr(MACHINE),
        }
    }

    pub fn test_machine() -> MachineId {
        MachineId(format!("{}-test", dr(MACHINE)))
    }

    pub fn item_id() -> ItemId {
        ItemId(format!("item-{MACHINE}"))
    }

    /// A machine as it is, whatever its site answers.
    pub fn power(&self, side: Side, machine: &MachineId) -> Power {
        match (self.site(side).spec(machine), self.site(side).last_boot(machine)) {
            (None, _) => Power::Absent,
            (Some(_), Some(boot)) if boot.ended().is_none() => Power::On,
            (Some(_), _) => Power::Off,
        }
    }

    pub fn boots(&self, side: Side) -> Vec<Arc<SimBoot>> {
        self.site(side).boots(&Self::machine(side))
    }

    /// Number of the last boot on a side; 0 if there was none.
    pub fn last_boot(&self, side: Side) -> u32 {
        self.boots(side).last().map_or(0, |boot| boot.number)
    }

    pub async fn item(&self) -> Option<ItemView> {
        self.core.item(&Self::item_id()).await.ok()
    }

    /// Asks. Returns the job if that starts one.
    pub async fn ask(&self, ask: Ask) -> Result<Option<JobId>, CoreError> {
        let (core, item) = (&self.core, Self::item_id());
        let view = self.item().await;
        let active = view.as_ref().map_or(Side::Primary, |view| view.protection.active);
        let towards = |astray| Direction::from_side(if astray { active.other() } else { active });
        let point = |choice| choose(view.as_ref(), choice);
        let job = match ask {
            Ask::Protect => core.enable_protection(&protection(&item)).await?,
            Ask::FailOver(request) => {
                let request = FailoverRequest {
                    kind: request.kind,
                    point: point(request.point),
                    shut_down_source: request.shut_down,
                    data_sync: request.sync,
                    ..failover(&item, towards(request.astray))
                };
                core.failover(&request).await?
            }
            Ask::TestFailover(choice) => {
                core.test_failover(&test_failover_request(&item, point(choice))).await?
            }
            Ask::CleanUp => core.clean_up_test_failover(&item).await?,
            Ask::ChangePoint(choice) => core.change_point(&item, &point(choice)).await?,
            Ask::Commit => core.commit(&item).await?,
            Ask::Reprotect { astray } => core.reprotect(&reprotection(&item, towards(astray))).await?,
            Ask::Reverse => core.reverse_replicate(&item).await?,
            Ask::Disable => core.disable_protection(&item).await?,
            Ask::Complete => return core.complete_failover(&item).await.map(|()| None),
            Ask::Cancel => return core.cancel_failover(&item).await.map(|()| None),
        };
        Ok(Some(job))
    }

    /// Follows a job until it has ended or waits to be completed.
    pub async fn follow(&self, job: &JobId) -> Result<JobView, String> {
        let follow = async {
            let mut view = self.core.job(job).await?;
            while !view.state.ended() && view.state != JobState::WaitingForCompletion {
                view = self.core.watch_job(job, view.revision).await?;
            }
            Ok::<_, CoreError>(view)
        };
        let ended = tokio::time::timeout(PATIENCE, follow).await;
        ended.map_err(|_| format!("{job} never ended"))?.map_err(|error| format!("{job}: {error}"))
    }

    /// Whether the process is dead.
    pub async fn is_dead(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(5), self.process.died()).await.is_ok()
    }

    /// A new process takes the dead one's place.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process.died().await;
        self.live(DOWN).await;
        self.process = SimProcess::new();
        self.core = open(&self.world, &self.dir, &self.process, &self.sites);
        self.world.settle().await;
    }

    pub fn lose_site_and_fail_over(&mut self, trouble: Trouble) {
        let side = trouble.side();
        let fault = match trouble {
            Trouble::Call { call, takes_effect, .. } => {
                let call = Trouble::call(call);
                let nth = self.site(side).calls(call) + 1;
                self.armed.push((side, call, nth));
                let fault = FailCall::at(call, nth, PlatformErrorKind::Unreachable);
                SimFault::Call(if takes_effect { fault.after_its_effect() } else { fault })
            }
            Trouble::Read(_, nth) => SimFault::ReadError(nth.into()),
            Trouble::Write(_, nth) => SimFault::WriteError(nth.into()),
            Trouble::LinkCut(_) => SimFault::LinkCut,
            Trouble::Deaf(_) => SimFault::ShutdownRefused(Self::machine(side)),
            Trouble::Lost(_) => SimFault::SiteLost,
        };
        self.media |= matches!(trouble, Trouble::Read(..) | Trouble::Write(..));
        self.site(side).inject(&fault);
    }

    pub fn heal(&mut self) {
        self.world.heal();
        self.armed.clear();
        self.media = false;
    }

    /// Whether something will still fail once.
    pub fn is_armed(&mut self) -> bool {
        let sites = &self.sites;
        self.armed.retain(|(side, call, nth)| sites[index(*side)].calls(*call) < *nth);
        self.media || !self.armed.is_empty()
    }

    /// An operator switches a machine on.
    pub async fn power_on(&self, side: Side) {
        let machine = Self::machine(side);
        // The answer may get lost, or the call fail; what counts is what is found afterwards.
        if self.site(side).start(&machine).await.is_ok() {
            let view = self.site(side).machine(&machine).await;
            assert!(view.is_err() || view.is_ok_and(|view| view.power == PowerState::On));
        }
    }
}

fn protection(item: &ItemId) -> EnableProtection {
    enable(item, MACHINE)
}

fn choose(view: Option<&ItemView>, choice: Choice) -> PointChoice {
    match choice {
        Choice::Latest => PointChoice::Latest,
        Choice::Processed => PointChoice::LatestProcessed,
        Choice::Oldest => {
            let oldest = view.and_then(|view| view.points.iter().find(|point| point.processed));
            oldest.map_or(PointChoice::LatestProcessed, |point| PointChoice::Custom(point.id.clone()))
        }
        Choice::Never => PointChoice::Custom("never-was".into()),
    }
}

fn open(world: &SimWorld, dir: &TempDir, process: &Arc<SimProcess>, sites: &[Arc<SimSite>; 2]) -> Core {
    let named = ["primary", "recovery"].into_iter().zip(sites);
    let platforms: BTreeMap<SiteId, Arc<dyn Platform>> =
        named.map(|(id, site)| (id.into(), process.platform(site))).collect();
    let clock = world.clock().clone();
    let clock = Clock::new(move || clock.now());
    Core::open(Config { platforms, dir: dir.path().to_owned(), fault_hook: None, clock }).unwrap()
}
