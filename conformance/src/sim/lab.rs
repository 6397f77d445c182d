//! Where checks happen: two simulated sites with a core between them, and the verbs a story is told in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    Bytes, CoreError, Direction, EnableProtection, ErrorCode, FailoverKind, FailoverRequest, GroupId, ItemId,
    ItemView, JobId, JobState, JobView, MachineId, Millis, Platform, PointChoice, Policy, RecoveryPoint,
    ReplicationCore, ReprotectRequest, SiteId, TargetSettings,
};
use standins::sim::{
    Call, Cut, FailCall, Fault, Load, SimBoot, SimConfig, SimInstall, SimProfile, SimSite, SimWorld, cut_of,
    last_record,
};
use tempfile::TempDir;

use super::said;

/// Time between two transfers, unless a policy says otherwise; virtual.
pub(super) const INTERVAL: Millis = Millis(60_000);
/// An hour.
pub(super) const HOUR: Millis = Millis(60 * 60 * 1000);
/// Name of the policy of every lab.
pub(super) const POLICY: &str = "lab";
/// Virtual time that nothing needs; what has not come by then never does.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What a lab is made of.
pub(super) struct Setup {
    /// The primary side.
    pub(super) profile: SimProfile,
    /// The policy of its machines.
    pub(super) policy: Policy,
}

impl Setup {
    /// VMware machines, a transfer a minute, no application-consistent points, twenty points at least.
    pub(super) fn vmware() -> Self {
        Self::of(SimProfile::VMWARE)
    }

    /// The same for another platform.
    pub(super) fn of(profile: SimProfile) -> Self {
        let policy = Policy {
            most_points: Some(20),
            app_consistent_every: None,
            ..Policy::for_machines_of(profile.kind, INTERVAL)
        };
        Self { profile, policy }
    }

    /// With another policy.
    pub(super) fn under(self, change: impl FnOnce(Policy) -> Policy) -> Self {
        Self { policy: change(self.policy), ..self }
    }
}

/// A core between two sites.
pub(super) struct Lab {
    pub(super) world: SimWorld,
    pub(super) primary: Arc<SimSite>,
    pub(super) recovery: Arc<SimSite>,
    pub(super) core: Arc<dyn ReplicationCore>,
    pub(super) policy: Policy,
    _dir: TempDir,
}

impl Lab {
    pub(super) fn open(world: SimWorld, setup: Setup) -> Result<Self, String> {
        let primary = world.site(SimConfig::new("primary", setup.profile));
        let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
        let mut platforms: BTreeMap<SiteId, Arc<dyn Platform>> = BTreeMap::new();
        platforms.insert("primary".into(), primary.clone());
        platforms.insert("recovery".into(), recovery.clone());
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let clock = world.clock().clone();
        let config = replication::Config {
            platforms,
            dir: dir.path().to_owned(),
            tap: None,
            clock: replication::Clock::new(move || clock.now()),
        };
        let core = Arc::new(replication::Core::open(config).map_err(said)?);
        Ok(Self { world, primary, recovery, core, policy: setup.policy, _dir: dir })
    }

    /// Ends the core, which must leave nothing open.
    pub(super) async fn close(&self) -> Result<(), String> {
        self.core.close().await.map_err(said)?;
        match self.primary.left_open() + self.recovery.left_open() {
            0 => Ok(()),
            open => Err(format!("{open} views and exports are left open")),
        }
    }

    pub(super) async fn live(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    /// Installs, starts and protects a machine.
    pub(super) async fn protect(&self, machine: &str) -> Result<ItemId, String> {
        self.protect_as(SimInstall::new(machine), None).await
    }

    /// The same for a machine that is special, or in a group.
    pub(super) async fn protect_as(
        &self,
        install: SimInstall,
        group: Option<GroupId>,
    ) -> Result<ItemId, String> {
        let broken = |error: contract::PlatformError| error.to_string();
        if self.core.policies().await.map_err(said)?.is_empty() {
            self.core.create_policy(&POLICY.into(), &self.policy).await.map_err(said)?;
        }
        self.primary.install(&install).map_err(broken)?;
        self.primary.start(&install.machine).await.map_err(broken)?;
        self.live(INTERVAL).await;
        let item = ItemId(format!("item-{}", install.machine));
        let request = EnableProtection {
            item: item.clone(),
            primary: "primary".into(),
            machine: install.machine.clone(),
            recovery: "recovery".into(),
            target: TargetSettings::new(cloud(&install.machine), Bytes(1 << 30)),
            policy: POLICY.into(),
            group,
        };
        self.completed(self.core.enable_protection(&request).await).await?;
        Ok(item)
    }

    /// Waits for a number of points.
    pub(super) async fn points(&self, item: &ItemId, count: u64) -> Result<ItemView, String> {
        let seen = tokio::time::timeout(PATIENCE, self.core.watch_points(item, count)).await;
        seen.map_err(|_| format!("point {count} never came"))?.map_err(said)
    }

    pub(super) async fn item(&self, item: &ItemId) -> Result<ItemView, String> {
        self.core.item(item).await.map_err(said)
    }

    /// Its processed points, oldest first.
    pub(super) async fn processed(&self, item: &ItemId) -> Result<Vec<RecoveryPoint>, String> {
        Ok(self.item(item).await?.points.into_iter().filter(|point| point.processed).collect())
    }

    /// Follows a job to its end, which must be a good one.
    pub(super) async fn completed(&self, job: Result<JobId, CoreError>) -> Result<JobView, String> {
        let job = job.map_err(said)?;
        let follow = async {
            let mut view = self.core.job(&job).await?;
            while !view.state.ended() {
                view = self.core.watch_job(&job, view.revision).await?;
            }
            Ok(view)
        };
        let view = tokio::time::timeout(PATIENCE, follow).await;
        let view = view.map_err(|_| format!("{job} never ended"))?.map_err(said)?;
        match view.state {
            JobState::Completed | JobState::CompletedWithWarning => Ok(view),
            _ => Err(format!("{:?} ended {:?}: {:?}", view.kind, view.state, view.error)),
        }
    }

    /// Fails over to a point.
    pub(super) async fn fail_over(&self, item: &ItemId, point: PointChoice) -> Result<JobView, String> {
        self.completed(self.core.failover(&request(item, Direction::PrimaryToRecovery, point)).await).await
    }

    /// Commits, and replicates back.
    pub(super) async fn commit_and_reprotect(&self, item: &ItemId) -> Result<(), String> {
        self.completed(self.core.commit(item).await).await?;
        let request = ReprotectRequest::new(item, Direction::RecoveryToPrimary)
            .with_defaults(&self.recovery.components().all(), &self.primary.components().all());
        self.completed(self.core.reprotect(&request).await).await.map(drop)
    }

    /// The code with which a failover is refused; `None` if it is accepted. What was refused must have changed nothing.
    pub(super) async fn refusal(
        &self,
        item: &ItemId,
        point: PointChoice,
    ) -> Result<Option<ErrorCode>, String> {
        let before = self.item(item).await?;
        let asked = self.core.failover(&request(item, Direction::PrimaryToRecovery, point)).await;
        let Err(refused) = asked else { return Ok(None) };
        if self.item(item).await? != before {
            return Err(format!("a refused failover ({refused}) changed the item"));
        }
        Ok(Some(refused.code))
    }

    /// From now on what is received is not processed, until healed.
    pub(super) fn stall(&self) {
        let next = self.recovery.calls(Call::DeriveVolume) + 1;
        let full = contract::PlatformErrorKind::Full;
        self.recovery.inject(&Fault::Call(FailCall::at(Call::DeriveVolume, next, full).from_then_on()));
    }

    /// The last boot of a machine on the primary side, and of its copy.
    pub(super) fn boots(&self, machine: &str) -> Result<(Arc<SimBoot>, Arc<SimBoot>), String> {
        let source = self.primary.last_boot(&machine.into()).ok_or("the source never booted")?;
        let target = self.recovery.last_boot(&cloud(&machine.into())).ok_or("no copy came up")?;
        Ok((source, target))
    }

    /// How many of the source's writes the copy of a machine holds, and the last record among them. Anything but an
    /// exact prefix is an error.
    pub(super) fn recovered(&self, machine: &str) -> Result<(usize, u64), String> {
        let (source, target) = self.boots(machine)?;
        let log = source.log();
        match cut_of(&source.bases(), &log, &target.bases(), &[SimSite::hydrated()]) {
            Cut::Exact(range) => Ok((*range.end(), last_record(&log, *range.end()))),
            other => Err(format!("{machine}: {other:?}")),
        }
    }
}

/// A machine that writes so little that it can live for days.
pub(super) fn quiet(machine: &str) -> SimInstall {
    let load = Load { record_every: Millis(20 * 60_000), churn_every: Millis(0), churn_bytes: 4096 };
    SimInstall { load, ..SimInstall::new(machine) }
}

/// The name of a machine's copy.
pub(super) fn cloud(machine: &MachineId) -> MachineId {
    MachineId(format!("{machine}-dr"))
}

pub(super) fn request(item: &ItemId, direction: Direction, point: PointChoice) -> FailoverRequest {
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
