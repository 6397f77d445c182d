//! A core between two simulated sites, and the questions every test asks of it.

mod noted;
pub mod restart;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    Bytes, CoreError, Direction, EnableProtection, ErrorCode, FailoverKind, FailoverRequest, ItemId,
    ItemView, JobId, JobState, JobView, MachineId, Millis, Network, Platform, PlatformKind, PointChoice,
    Policy, ReplicationCore, ReprotectRequest, SiteId, TargetSettings, TestFailoverRequest, Timestamp,
};
use inventory::Infrastructure;
use replication::fault_hook::FaultHook;
use replication::{Clock, Config, Core};
use simulator::{Cut, SimBoot, SimConfig, SimInstall, SimProfile, SimSite, SimWorld, cut_of, last_record};
use tempfile::TempDir;

pub const OUT: Direction = Direction::PrimaryToRecovery;
pub const BACK: Direction = Direction::RecoveryToPrimary;
pub const INTERVAL: Millis = Millis(60_000);
/// Virtual time that no test needs; one that waits for what never comes ends there.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// VMware on one side, Azure on the other, and a core between them.
pub struct Pair {
    pub world: SimWorld,
    pub primary: Arc<SimSite>,
    pub recovery: Arc<SimSite>,
    pub core: Core,
    dir: TempDir,
}

impl Pair {
    pub fn new(world: SimWorld) -> Self {
        let [primary, recovery] = sites(&world);
        Self::of(world, primary, recovery)
    }

    /// Between sites of the test's own.
    pub fn of(world: SimWorld, primary: Arc<SimSite>, recovery: Arc<SimSite>) -> Self {
        Self::with(world, [primary, recovery], in_memory(), None)
    }

    /// With a core that is made faulty.
    pub fn tapped(world: SimWorld, tap: Arc<dyn FaultHook>) -> Self {
        let sites = sites(&world);
        Self::with(world, sites, in_memory(), Some(tap))
    }

    /// With a core that keeps more than a small file system in memory holds.
    pub fn on_disk(world: SimWorld) -> Self {
        let sites = sites(&world);
        Self::with(world, sites, tempfile::tempdir().unwrap(), None)
    }

    fn with(
        world: SimWorld,
        sites: [Arc<SimSite>; 2],
        dir: TempDir,
        tap: Option<Arc<dyn FaultHook>>,
    ) -> Self {
        let [primary, recovery] = sites;
        let core = Core::open(config(&primary, &recovery, &dir, tap)).unwrap();
        Self { world, primary, recovery, core, dir }
    }

    /// Puts another core over the same store and sites in this one's place.
    pub async fn reopen(&mut self) {
        self.core.close().await.unwrap();
        self.core = Core::open(config(&self.primary, &self.recovery, &self.dir, None)).unwrap();
        self.world.settle().await;
    }

    /// Installs and starts a machine, lets it live a while, and sees to it that there is a policy for it.
    pub async fn install(&self, machine: &str) {
        self.make_policy().await;
        self.primary.install(&SimInstall::new(machine)).unwrap();
        self.primary.start(&machine.into()).await.unwrap();
        self.world.clock().sleep(INTERVAL).await;
    }

    /// Installs a machine and protects it.
    pub async fn protect(&self, machine: &str) -> ItemId {
        self.install(machine).await;
        let item = ItemId(format!("item-{machine}"));
        let job = self.core.enable_protection(&enable(&item, machine)).await.unwrap();
        self.completed(&job).await;
        item
    }

    /// Makes the policy that [`enable`] names, unless it is there.
    pub async fn make_policy(&self) {
        let kind = self.primary.profile().kind;
        if self.core.policies().await.unwrap().is_empty() {
            self.core.create_policy(&POLICY.into(), &policy(kind, 3)).await.unwrap();
        }
    }

    /// Asks for a machine's protection under the policy of all tests.
    pub async fn ask_to_protect(&self, item: &ItemId, machine: &str) -> Result<JobId, CoreError> {
        self.make_policy().await;
        self.core.enable_protection(&enable(item, machine)).await
    }

    pub async fn ended(&self, job: &JobId) -> JobView {
        let wait = async {
            let mut view = self.core.job(job).await.unwrap();
            while !view.state.ended() {
                view = self.core.watch_job(job, view.revision).await.unwrap();
            }
            view
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the job ends")
    }

    pub async fn completed(&self, job: &JobId) -> JobView {
        let view = self.ended(job).await;
        let well = matches!(view.state, JobState::Completed | JobState::CompletedWithWarning);
        assert!(well, "{view:#?}");
        view
    }

    /// Waits for a point. A core that neither makes it nor says that it will not is an error too.
    pub async fn points(&self, item: &ItemId, count: u64) -> Result<ItemView, CoreError> {
        let never = |_| CoreError::new(ErrorCode::Platform, "no point came, and nothing was said");
        tokio::time::timeout(PATIENCE, self.core.watch_points(item, count)).await.map_err(never)?
    }

    pub async fn fail_over(&self, item: &ItemId, direction: Direction) -> JobView {
        let job = self.core.failover(&failover(item, direction)).await.unwrap();
        self.completed(&job).await
    }

    pub async fn commit(&self, item: &ItemId) -> JobView {
        let job = self.core.commit(item).await.unwrap();
        self.completed(&job).await
    }

    pub async fn reprotect(&self, item: &ItemId, direction: Direction) -> JobView {
        let job = self.core.reprotect(&reprotection(item, direction)).await.unwrap();
        self.completed(&job).await
    }

    pub async fn item(&self, item: &ItemId) -> ItemView {
        self.core.item(item).await.unwrap()
    }

    pub async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }
}

/// Name of the policy that [`enable`] names.
pub const POLICY: &str = "every-minute";

/// A policy of the tests' own interval, which keeps `most` points and takes none with the applications at rest.
pub fn policy(source: PlatformKind, most: u32) -> Policy {
    Policy {
        most_points: Some(most),
        app_consistent_every: None,
        ..Policy::for_machines_of(source, INTERVAL)
    }
}

fn sites(world: &SimWorld) -> [Arc<SimSite>; 2] {
    [("primary", SimProfile::VMWARE), ("recovery", SimProfile::AZURE)]
        .map(|(id, profile)| world.site(SimConfig::new(id, profile)))
}

fn config(
    primary: &Arc<SimSite>,
    recovery: &Arc<SimSite>,
    dir: &TempDir,
    tap: Option<Arc<dyn FaultHook>>,
) -> Config {
    let mut platforms: BTreeMap<SiteId, Arc<dyn Platform>> = BTreeMap::new();
    platforms.insert("primary".into(), primary.clone());
    platforms.insert("recovery".into(), recovery.clone());
    let clock = primary.clock().clone();
    Config { platforms, dir: dir.path().to_owned(), fault_hook: tap, clock: Clock::new(move || clock.now()) }
}

/// A directory that costs no wait for a disk, if there is such a place.
pub fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn enable(item: &ItemId, machine: &str) -> EnableProtection {
    EnableProtection {
        item: item.clone(),
        primary: "primary".into(),
        machine: machine.into(),
        recovery: "recovery".into(),
        target: TargetSettings::new(dr(machine), Bytes(1 << 30)),
        policy: POLICY.into(),
        group: None,
    }
}

/// Name of a machine on the recovery side.
pub fn dr(machine: &str) -> MachineId {
    MachineId(format!("{machine}-dr"))
}

pub fn failover(item: &ItemId, direction: Direction) -> FailoverRequest {
    FailoverRequest {
        item: item.clone(),
        kind: FailoverKind::Unplanned,
        direction,
        point: PointChoice::Latest,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
        alternate: None,
        certificate: None,
    }
}

/// With what sites have to begin with.
pub fn reprotection(item: &ItemId, direction: Direction) -> ReprotectRequest {
    let parts = |kind| Infrastructure::of("", kind).all();
    let [here, there] = [PlatformKind::Vmware, PlatformKind::Azure].map(parts);
    let (from, to) = if direction == OUT { (here, there) } else { (there, here) };
    ReprotectRequest::new(item, direction).with_defaults(&from, &to)
}

pub fn test_failover_request(item: &ItemId, point: PointChoice) -> TestFailoverRequest {
    TestFailoverRequest { item: item.clone(), point, network: Network::Isolated }
}

/// Where a recovered machine lies in the order of its source's writes: how many were made, and the last ledger
/// record among them. Anything but an exact prefix ends the test.
pub fn exact(source: &SimBoot, target: &SimBoot) -> (usize, u64) {
    let log = source.log();
    match cut_of(&source.bases(), &log, &target.bases(), &[SimSite::hydrated()]) {
        Cut::Exact(range) => (*range.end(), last_record(&log, *range.end())),
        other => panic!("{} boot {}: {other:?}", target.machine, target.number),
    }
}

/// Asserts that a guest is up, with all records up to `record`.
pub fn is_up(site: &SimSite, boot: &SimBoot, record: u64) {
    let up = boot.up.as_ref().expect("it comes up");
    assert!(*up <= site.clock().now() && boot.ended().is_none(), "{boot:?}");
    let found = boot.found.as_ref().expect("a ledger");
    assert_eq!((found.contiguous, found.highest), (record, record));
    assert!(found.torn.is_empty());
}

/// How much was lost when the source ended at `struck`: since when acknowledged records are missing.
pub fn lost(source: &SimBoot, record: u64, struck: Timestamp) -> Millis {
    let first_lost = source.acks().into_iter().find(|ack| ack.number > record && ack.at <= struck);
    first_lost.map_or(Millis(0), |ack| struck.since(ack.at))
}
