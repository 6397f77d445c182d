//! Where checks happen: two simulated sites with a core between them, and the verbs a story is told in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    Bytes, CoreError, Direction, EnableProtection, ErrorCode, FailoverKind, FailoverRequest, GroupId, ItemId,
    ItemView, JobId, JobState, JobView, MachineId, MachineView, Millis, Network, Platform, PlatformError,
    PointChoice, Policy, RecoveryPoint, ReplicationCore, ReprotectRequest, SiteId, TargetSettings,
    TestFailoverRequest,
};
use simulator::{Call, FailCall, Fault, Load, SimBoot, SimConfig, SimInstall, SimProfile, SimSite, SimWorld};
use tempfile::TempDir;

use crate::mutants::InjectedFault;
use crate::sim::said;
use crate::sim::side_effects::{held, whole};

/// Time between two transfers, unless a policy says otherwise; virtual.
pub(crate) const INTERVAL: Millis = Millis(60_000);
/// A guest's boot takes less.
pub(crate) const BOOT: Millis = Millis(10_000);
/// An hour.
pub(crate) const HOUR: Millis = Millis(60 * 60 * 1000);
/// Name of the policy of every lab.
pub(crate) const POLICY: &str = "lab";
/// Virtual time that nothing needs; what has not come by then never does.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What a lab is made of.
pub(crate) struct Setup {
    /// The primary side.
    pub(crate) profile: SimProfile,
    /// The policy of its machines.
    pub(crate) policy: Policy,
}

impl Setup {
    /// VMware machines, a transfer a minute, no application-consistent points, twenty points at least.
    pub(crate) fn vmware() -> Self {
        Self::of(SimProfile::VMWARE)
    }

    /// The same for another platform.
    pub(crate) fn of(profile: SimProfile) -> Self {
        let policy = Policy {
            most_points: Some(20),
            app_consistent_every: None,
            ..Policy::for_machines_of(profile.kind, INTERVAL)
        };
        Self { profile, policy }
    }

    /// With another policy.
    pub(crate) fn under(self, change: impl FnOnce(Policy) -> Policy) -> Self {
        Self { policy: change(self.policy), ..self }
    }
}

/// A core between two sites.
pub(crate) struct Testbed {
    pub(crate) world: SimWorld,
    pub(crate) primary: Arc<SimSite>,
    pub(crate) recovery: Arc<SimSite>,
    /// A VMware site that nothing is replicated from.
    pub(crate) other: Arc<SimSite>,
    pub(crate) core: Arc<dyn ReplicationCore>,
    pub(crate) policy: Policy,
    _dir: TempDir,
}

impl Testbed {
    /// Sites and a core that is as faulty as the dose makes it, with its store in a directory of its own.
    pub(crate) fn open(
        world: SimWorld,
        setup: Setup,
        dose: &InjectedFault,
        dir: TempDir,
    ) -> Result<Self, String> {
        let site = |id: &str, profile| world.site(SimConfig::new(id, profile));
        let (primary, recovery) = (site("primary", setup.profile), site("recovery", SimProfile::AZURE));
        let other = site("other", SimProfile::VMWARE);
        let mut platforms: BTreeMap<SiteId, Arc<dyn Platform>> = BTreeMap::new();
        for (id, site) in [("primary", &primary), ("recovery", &recovery), ("other", &other)] {
            platforms.insert(id.into(), Arc::clone(site) as Arc<dyn Platform>);
        }
        let clock = world.clock().clone();
        let config = replication::Config {
            platforms,
            dir: dir.path().to_owned(),
            fault_hook: dose.tap(),
            clock: replication::Clock::new(move || clock.now()),
        };
        let core = dose.around(Arc::new(replication::Core::open(config).map_err(said)?));
        Ok(Self { world, primary, recovery, other, core, policy: setup.policy, _dir: dir })
    }

    /// Ends the core, which must leave nothing open.
    pub(crate) async fn close(&self) -> Result<(), String> {
        self.core.close().await.map_err(said)?;
        match self.sites().iter().map(|site| site.left_open()).sum::<usize>() {
            0 => Ok(()),
            open => Err(format!("{open} views and exports are left open")),
        }
    }

    pub(crate) async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    /// Installs, starts and protects a machine.
    pub(crate) async fn protect(&self, machine: &str) -> Result<ItemId, String> {
        self.protect_as(SimInstall::new(machine), None).await
    }

    /// The same for a machine that is special, or in a group.
    pub(crate) async fn protect_as(
        &self,
        install: SimInstall,
        group: Option<GroupId>,
    ) -> Result<ItemId, String> {
        self.install(&install).await?;
        let request = EnableProtection { group, ..enable(&install.machine) };
        self.completed(self.core.enable_protection(&request).await).await?;
        Ok(request.item)
    }

    /// Installs and starts a machine, lets it live, and sees to it that there is a policy for it.
    pub(crate) async fn install(&self, install: &SimInstall) -> Result<(), String> {
        if self.core.policies().await.map_err(said)?.is_empty() {
            self.core.create_policy(&POLICY.into(), &self.policy).await.map_err(said)?;
        }
        self.primary.install(install).map_err(broken)?;
        self.primary.start(&install.machine).await.map_err(broken)?;
        self.live(INTERVAL).await;
        Ok(())
    }

    /// Waits for a number of points.
    pub(crate) async fn points(&self, item: &ItemId, count: u64) -> Result<ItemView, String> {
        let seen = tokio::time::timeout(PATIENCE, self.core.watch_points(item, count)).await;
        seen.map_err(|_| format!("point {count} never came"))?.map_err(said)
    }

    pub(crate) async fn item(&self, item: &ItemId) -> Result<ItemView, String> {
        self.core.item(item).await.map_err(said)
    }

    /// Its processed points, oldest first.
    pub(crate) async fn processed(&self, item: &ItemId) -> Result<Vec<RecoveryPoint>, String> {
        Ok(self.item(item).await?.points.into_iter().filter(|point| point.processed).collect())
    }

    /// Follows a job to its end, whatever that is.
    pub(crate) async fn ended(&self, job: Result<JobId, CoreError>) -> Result<JobView, String> {
        let job = job.map_err(said)?;
        self.until(&job, |view| view.state.ended()).await
    }

    /// Follows a job until it is as it should be, or has ended.
    pub(crate) async fn until(
        &self,
        job: &JobId,
        reached: impl Fn(&JobView) -> bool,
    ) -> Result<JobView, String> {
        let follow = async {
            let mut view = self.core.job(job).await?;
            while !view.state.ended() && !reached(&view) {
                view = self.core.watch_job(job, view.revision).await?;
            }
            Ok(view)
        };
        let view = tokio::time::timeout(PATIENCE, follow).await;
        view.map_err(|_| format!("{job} came to no end"))?.map_err(said)
    }

    /// Follows a job to its end, which must be a good one.
    pub(crate) async fn completed(&self, job: Result<JobId, CoreError>) -> Result<JobView, String> {
        let view = self.ended(job).await?;
        match view.state {
            JobState::Completed | JobState::CompletedWithWarning => Ok(view),
            _ => Err(format!("{:?} ended {:?}: {:?}", view.kind, view.state, view.error)),
        }
    }

    /// Fails over to a point.
    pub(crate) async fn fail_over(&self, item: &ItemId, point: PointChoice) -> Result<JobView, String> {
        self.completed(self.core.failover(&request(item, Direction::PrimaryToRecovery, point)).await).await
    }

    /// Fails back to the latest point, and lets the machine come up.
    pub(crate) async fn fail_back(&self, item: &ItemId) -> Result<JobView, String> {
        let request = request(item, Direction::RecoveryToPrimary, PointChoice::Latest);
        let job = self.completed(self.core.failover(&request).await).await?;
        self.live(BOOT).await;
        Ok(job)
    }

    pub(crate) async fn commit(&self, item: &ItemId) -> Result<JobView, String> {
        self.completed(self.core.commit(item).await).await
    }

    /// Fails over while the primary site is lost, commits, and has the site restored.
    pub(crate) async fn go_out(&self, item: &ItemId) -> Result<(), String> {
        self.primary.lose();
        self.fail_over(item, PointChoice::Latest).await?;
        self.commit(item).await?;
        self.primary.restore();
        self.live(INTERVAL).await;
        Ok(())
    }

    /// Commits, and replicates back.
    pub(crate) async fn commit_and_reprotect(&self, item: &ItemId) -> Result<(), String> {
        self.commit(item).await?;
        self.reprotect(&self.way_back(item, &self.primary)).await.map(drop)
    }

    pub(crate) async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobView, String> {
        self.completed(self.core.reprotect(request).await).await
    }

    /// Back to a site, with what infrastructure offers first.
    pub(crate) fn way_back(&self, item: &ItemId, to: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(item, Direction::RecoveryToPrimary)
            .with_defaults(&self.recovery.components().all(), &to.components().all())
    }

    /// Out again from a site.
    pub(crate) fn way_out(&self, item: &ItemId, from: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(item, Direction::PrimaryToRecovery)
            .with_defaults(&from.components().all(), &self.recovery.components().all())
    }

    /// The code with which a failover is refused; `None` if it is accepted. What was refused must have changed nothing.
    pub(crate) async fn refusal(
        &self,
        item: &ItemId,
        point: PointChoice,
    ) -> Result<Option<ErrorCode>, String> {
        let request = request(item, Direction::PrimaryToRecovery, point);
        self.refused("a failover", self.core.failover(&request)).await
    }

    /// The next call of a kind fails.
    pub(crate) fn fail_next(site: &SimSite, call: Call) {
        let kind = contract::PlatformErrorKind::Failed;
        site.inject(&Fault::Call(FailCall::at(call, site.calls(call) + 1, kind)));
    }

    /// From now on what is received is not processed, until healed.
    pub(crate) fn stall(&self) {
        let next = self.recovery.calls(Call::DeriveVolume) + 1;
        let full = contract::PlatformErrorKind::Full;
        self.recovery.inject(&Fault::Call(FailCall::at(Call::DeriveVolume, next, full).from_then_on()));
    }

    /// The last boot of a machine on the primary side, and of its copy.
    pub(crate) fn boots(&self, machine: &str) -> Result<(Arc<SimBoot>, Arc<SimBoot>), String> {
        let source = self.primary.last_boot(&machine.into()).ok_or("the source never booted")?;
        let target = self.recovery.last_boot(&cloud(&machine.into())).ok_or("no copy came up")?;
        Ok((source, target))
    }

    /// How many of the source's writes the copy of a machine holds, and the last record among them. Anything but an
    /// exact prefix is an error.
    pub(crate) fn recovered(&self, machine: &str) -> Result<(usize, u64), String> {
        let (source, target) = self.boots(machine)?;
        held(&source, &target)
    }

    /// Whether a machine that came back holds all that its copy wrote, and is up.
    pub(crate) fn came_back(&self, machine: &str, to: &SimSite) -> Result<bool, String> {
        let source = self.recovery.last_boot(&cloud(&machine.into())).ok_or("there was no copy")?;
        let target = to.last_boot(&machine.into()).ok_or("it never came up")?;
        Ok(whole(&source, &target)? && target.up.is_ok() && target.ended().is_none())
    }

    /// A machine of the recovery site as the site shows it.
    pub(crate) async fn copy_of(&self, machine: &str) -> Result<MachineView, String> {
        self.recovery.machine(&cloud(&machine.into())).await.map_err(broken)
    }

    /// Every site.
    pub(crate) fn sites(&self) -> [&Arc<SimSite>; 3] {
        [&self.primary, &self.recovery, &self.other]
    }

    /// Snapshots taken of a machine and of its copy since each was started: what replication costs.
    pub(crate) fn snapshots_taken(&self, machine: &str) -> u64 {
        let machine = MachineId::from(machine);
        self.primary.snapshots_taken(&machine) + self.recovery.snapshots_taken(&cloud(&machine))
    }
}

/// A machine that writes so little that it can live for days.
pub(crate) fn quiet(machine: &str) -> SimInstall {
    let load = Load { record_every: Millis(20 * 60_000), churn_every: Millis(0), churn_bytes: 4096 };
    SimInstall { load, ..SimInstall::new(machine) }
}

/// A directory that costs no wait for a disk, if there is such a place.
pub(crate) fn in_memory() -> Result<TempDir, String> {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.map_err(|error| format!("no directory could be made for a core: {error}"))
}

/// A site's refusal or failure in words.
pub(crate) fn broken(error: PlatformError) -> String {
    error.to_string()
}

/// Protection of a machine as most checks want it.
pub(crate) fn enable(machine: &MachineId) -> EnableProtection {
    EnableProtection {
        item: ItemId(format!("item-{machine}")),
        primary: "primary".into(),
        machine: machine.clone(),
        recovery: "recovery".into(),
        target: TargetSettings::new(cloud(machine), Bytes(1 << 30)),
        policy: POLICY.into(),
        group: None,
    }
}

/// A test failover as it should be.
pub(crate) fn test_failover_request(item: &ItemId, point: PointChoice) -> TestFailoverRequest {
    TestFailoverRequest { item: item.clone(), point, network: Network::Isolated }
}

/// The name of a machine's copy.
pub(crate) fn cloud(machine: &MachineId) -> MachineId {
    MachineId(format!("{machine}-dr"))
}

pub(crate) fn request(item: &ItemId, direction: Direction, point: PointChoice) -> FailoverRequest {
    FailoverRequest {
        item: item.clone(),
        kind: FailoverKind::Unplanned,
        direction,
        point,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
        alternate: None,
        certificate: None,
    }
}
