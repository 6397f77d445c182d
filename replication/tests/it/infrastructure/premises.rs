//! A core between premises and a cloud, where the premises may have more than one site.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{
    Bytes, CoreError, EnableProtection, ItemId, ItemView, JobFilter, JobId, JobState, JobView, MachineId,
    Millis, Platform, ReplicationCore, ReprotectRequest, SiteId, TargetSettings,
};
use inventory::Infrastructure;
use replication::{Clock, Config, Core};
use simulator::{SimConfig, SimInstall, SimProfile, SimSite, SimWorld};
use tempfile::TempDir;

use crate::support::{BACK, INTERVAL, OUT, POLICY, dr, enable, exact, failover, is_up, policy};

pub const MACHINE: &str = "web";

/// Sites called `primary`, `recovery` and `other`, and a core over them with one machine.
pub struct Premises {
    pub world: SimWorld,
    pub primary: Arc<SimSite>,
    pub recovery: Arc<SimSite>,
    /// Another VMware site.
    pub other: Arc<SimSite>,
    pub core: Core,
    pub item: ItemId,
    _dir: TempDir,
}

impl Premises {
    pub fn new(world: SimWorld, profile: SimProfile) -> Self {
        let site = |id: &str, profile| world.site(SimConfig::new(id, profile));
        let (primary, recovery) = (site("primary", profile), site("recovery", SimProfile::AZURE));
        let other = site("other", SimProfile::VMWARE);
        let mut platforms: BTreeMap<SiteId, Arc<dyn Platform>> = BTreeMap::new();
        for (name, site) in [("primary", &primary), ("recovery", &recovery), ("other", &other)] {
            platforms.insert(name.into(), Arc::clone(site) as Arc<dyn Platform>);
        }
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let clock = primary.clock().clone();
        let clock = Clock::new(move || clock.now());
        let config = Config { platforms, dir: dir.path().to_owned(), fault_hook: None, clock };
        let core = Core::open(config).unwrap();
        Self { world, primary, recovery, other, core, item: "item-web".into(), _dir: dir }
    }

    /// With a machine that runs and is protected.
    pub async fn protected(world: SimWorld, profile: SimProfile) -> Self {
        let premises = Self::new(world, profile);
        premises.protect(&SimInstall::new(MACHINE)).await;
        premises
    }

    /// With a machine that was failed over, the failover committed.
    pub async fn in_the_cloud(world: SimWorld, profile: SimProfile) -> Self {
        let premises = Self::protected(world, profile).await;
        premises.go_out().await;
        premises
    }

    pub async fn protect(&self, install: &SimInstall) {
        self.protect_as(install, target()).await;
    }

    pub async fn protect_as(&self, install: &SimInstall, target: TargetSettings) {
        self.primary.install(install).unwrap();
        self.protect_installed(install, target).await;
    }

    pub async fn protect_installed(&self, install: &SimInstall, target: TargetSettings) {
        self.primary.start(&install.machine).await.unwrap();
        self.live(INTERVAL).await;
        let policy = policy(self.primary.profile().kind, 3);
        self.core.create_policy(&POLICY.into(), &policy).await.unwrap();
        let request = EnableProtection { target, ..enable(&self.item, &install.machine.0) };
        let job = self.core.enable_protection(&request).await;
        self.completed(job).await;
        self.points(3).await;
    }

    /// Fails over while the primary site is lost, and commits.
    pub async fn go_out(&self) {
        self.primary.lose();
        let job = self.core.failover(&failover(&self.item, OUT)).await;
        self.completed(job).await;
        let job = self.core.commit(&self.item).await;
        self.completed(job).await;
        self.primary.restore();
        self.live(INTERVAL).await;
    }

    /// Reprotects back, waits for points, fails back and proves that nothing was lost.
    pub async fn come_back(&self, request: &ReprotectRequest, to: &SimSite) {
        let job = self.core.reprotect(request).await;
        self.completed(job).await;
        self.points(3).await;
        self.live(Millis(12_345)).await;
        self.fail_back(to).await;
    }

    pub async fn fail_back(&self, to: &SimSite) {
        let job = self.core.failover(&failover(&self.item, BACK)).await;
        self.completed(job).await;
        self.live(Millis(10_000)).await;
        self.came_back(to);
    }

    /// All that the cloud machine wrote is there, and the machine is up.
    pub fn came_back(&self, to: &SimSite) {
        let source = self.recovery.last_boot(&dr(MACHINE)).unwrap();
        let target = to.last_boot(&machine()).unwrap();
        let (writes, record) = exact(&source, &target);
        assert_eq!(writes, source.log().len());
        is_up(to, &target, record);
    }

    /// Back to `site`, with what infrastructure offers first.
    pub fn way_back(&self, site: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(&self.item, BACK)
            .with_defaults(&self.recovery.components().all(), &site.components().all())
    }

    /// Out again from `site`.
    pub fn way_out(&self, site: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(&self.item, OUT)
            .with_defaults(&site.components().all(), &self.recovery.components().all())
    }

    pub async fn points(&self, count: u64) {
        let patience = std::time::Duration::from_secs(24 * 3600);
        let came = tokio::time::timeout(patience, self.core.watch_points(&self.item, count)).await;
        came.expect("a point comes").unwrap();
    }

    pub async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    pub async fn ended(&self, job: Result<JobId, CoreError>) -> JobView {
        let job = job.unwrap();
        let mut view = self.core.job(&job).await.unwrap();
        while !view.state.ended() {
            view = self.core.watch_job(&job, view.revision).await.unwrap();
        }
        view
    }

    pub async fn completed(&self, job: Result<JobId, CoreError>) -> JobView {
        let view = self.ended(job).await;
        let well = matches!(view.state, JobState::Completed | JobState::CompletedWithWarning);
        assert!(well, "{view:#?}");
        view
    }
}

pub fn machine() -> MachineId {
    MACHINE.into()
}

/// What the machine shall look like in the cloud.
pub fn target() -> TargetSettings {
    TargetSettings::new(dr(MACHINE), Bytes(1 << 30))
}

/// Puts a component back as it was at the beginning.
pub fn put_back(site: &SimSite, id: &str) {
    let parts = Infrastructure::of("", site.profile().kind).all();
    site.components().add(parts.into_iter().find(|part| part.id.0 == id).unwrap());
}

/// All that can be seen from outside, to be compared.
#[derive(PartialEq)]
pub struct Seen {
    /// Machines, volumes and components of each site.
    pub sites: Vec<String>,
    items: Vec<ItemView>,
    jobs: Vec<JobView>,
}

impl Seen {
    pub async fn of(premises: &Premises) -> Self {
        let mut sites = Vec::new();
        for site in [&premises.primary, &premises.recovery, &premises.other] {
            let machines = [MACHINE.into(), dr(MACHINE)].map(|machine| site.spec(&machine));
            let boots = [MACHINE.into(), dr(MACHINE)].map(|machine| site.boots(&machine).len());
            let parts = site.components().all();
            let open = site.left_open();
            sites.push(format!("{machines:?} {boots:?} {:?} {parts:?} {open}", site.volumes()));
        }
        let items = premises.core.items().await.unwrap();
        Self { sites, items, jobs: premises.core.jobs(&JobFilter::default()).await.unwrap() }
    }
}

/// Names of a job's steps.
pub fn steps(job: &JobView) -> Vec<&str> {
    job.steps.iter().map(|step| step.name.as_str()).collect()
}
