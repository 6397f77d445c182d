//! Two simulated sites with a core between them: the fixture of the simulated tier and of the
//! core's own tests.
//!
//! A [`Testbed`] has a primary site, a recovery site in the cloud, another VMware site to fail back
//! to, a virtual clock and one core, which a closure opens from [`CoreParts`]. It knows the core
//! only through [`ReplicationCore`]. Its verbs do what a test does again and again: protect a
//! machine, fail over, wait for points. Each returns a [`TestbedError`] that says whether the core
//! or the simulator failed.
//!
//! - `setup`: what a testbed starts with, names and requests
//! - `recovered`: what a recovered machine was started from
//! - `plans`: recovery plans over several machines
//! - [`preconditions`]: what must hold before a machine comes back, how to break it and how to
//!   repair it

mod error;
mod plans;
pub mod preconditions;
mod recovered;
mod setup;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::{
    CoreError, Direction, EnableProtection, FailoverRequest, GroupId, ItemId, ItemView, JobId, JobState,
    JobView, MachineId, MachineView, Millis, Platform, PlatformErrorKind, PointChoice, Policy, RecoveryPoint,
    ReplicationCore, ReprotectRequest, SiteId,
};
use tempfile::TempDir;

use crate::{Call, FailCall, Fault, SimConfig, SimInstall, SimProfile, SimSite, SimWorld, Snapshot};

pub use error::{JobFailed, NotAPrefix, TestbedError, kept};
pub use plans::{
    PLAN, ScriptNotes, action, failover_plan_request, failover_plan_to, group, machines_started, manual,
    member_states, plan, plan_id, planned_failover_plan_request, shell, test_failover_plan_request,
};
pub use recovered::{Boots, Contained, Validity, contained, lost};
pub use setup::{
    BACK, BOOT, CoreParts, HOUR, INTERVAL, OUT, POLICY, Setup, cloud_machine, enable_request, failover_to,
    failover_with_shutdown, item_of, low_write_machine, test_machine,
};

/// Virtual time that nothing needs: what has not come by then never comes.
const PATIENCE_HOURS: u64 = 24;
/// If a transfer is due within this time, it may begin between two looks at the same thing.
const TRANSFER_NEAR: Millis = Millis(1_000);
/// How often [`Testbed::wait_until_idle`] looks for a moment without a transfer. With a few
/// machines it rarely needs a second look.
const IDLE_LOOKS: u32 = 60;

/// Two simulated sites with a core between them, and a third site to fail back to.
pub struct Testbed {
    /// The simulation that the sites belong to.
    pub world: SimWorld,
    /// Where machines are protected.
    pub primary: Arc<SimSite>,
    /// Where they fail over to.
    pub recovery: Arc<SimSite>,
    /// A VMware site from which nothing is replicated.
    pub other: Arc<SimSite>,
    /// The core under test.
    pub core: Arc<dyn ReplicationCore>,
    /// The policy that [`Self::install`] makes if the core has none.
    pub policy: Policy,
    dir: TempDir,
}

/// A job to follow: its id, or a core's answer to the request that starts it.
pub trait IntoJob {
    /// The job's id, or the core's refusal.
    ///
    /// # Errors
    /// The core refused the request.
    fn into_job(self) -> Result<JobId, CoreError>;
}

impl IntoJob for &JobId {
    fn into_job(self) -> Result<JobId, CoreError> {
        Ok(self.clone())
    }
}

impl IntoJob for Result<JobId, CoreError> {
    fn into_job(self) -> Result<JobId, CoreError> {
        self
    }
}

/// Waits for something in virtual time. `what` names it.
///
/// # Errors
/// [`TestbedError::TimedOut`] if it does not come; the error of what comes.
pub async fn patiently<T, E: Into<TestbedError>>(
    what: impl Into<String>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, TestbedError> {
    match tokio::time::timeout(Duration::from_secs(PATIENCE_HOURS * 3600), work).await {
        Ok(came) => came.map_err(Into::into),
        Err(_) => Err(TestbedError::TimedOut { what: what.into(), hours: PATIENCE_HOURS }),
    }
}

/// Makes the next call of one kind fail at a site.
pub fn fail_next_call(site: &SimSite, call: Call, kind: PlatformErrorKind) {
    site.inject(&Fault::Call(FailCall::at(call, site.calls(call) + 1, kind)));
}

/// A directory in memory, or on a disk if this host has no such directory.
///
/// # Errors
/// The host allows neither.
pub fn directory_in_memory() -> Result<TempDir, TestbedError> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| directory_on_disk())
}

fn directory_on_disk() -> Result<TempDir, TestbedError> {
    tempfile::tempdir().map_err(|error| TestbedError::host("make a directory for the core", error))
}

/// Opening and closing.
impl Testbed {
    /// Makes the sites and opens a core.
    ///
    /// # Errors
    /// The host has no room for the core's directory, or `open` fails.
    pub fn open(
        world: SimWorld,
        setup: Setup,
        open: impl FnOnce(CoreParts) -> Result<Arc<dyn ReplicationCore>, CoreError>,
    ) -> Result<Self, TestbedError> {
        let dir = if setup.on_disk { directory_on_disk() } else { directory_in_memory() }?;
        let site = |id: &str, profile| world.site(SimConfig::new(id, profile));
        let primary = site("primary", setup.profile);
        let recovery = site("recovery", SimProfile::AZURE);
        let other = site("other", SimProfile::VMWARE);
        let core = open(CoreParts {
            sites: named([&primary, &recovery, &other]),
            dir: dir.path().to_owned(),
            clock: world.clock().clone(),
        })?;
        Ok(Self { world, primary, recovery, other, core, policy: setup.policy, dir })
    }

    /// What another core over the same sites and the same directory is opened with.
    #[must_use]
    pub fn parts(&self) -> CoreParts {
        CoreParts {
            sites: named(self.sites()),
            dir: self.dir.path().to_owned(),
            clock: self.world.clock().clone(),
        }
    }

    /// The directory of the core's own data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Closes the core and opens another one over the same sites and the same directory.
    ///
    /// # Errors
    /// The core cannot be closed, or `open` fails.
    pub async fn reopen(
        &mut self,
        open: impl FnOnce(CoreParts) -> Result<Arc<dyn ReplicationCore>, CoreError>,
    ) -> Result<(), TestbedError> {
        self.core.close().await?;
        self.core = open(self.parts())?;
        self.world.settle().await;
        Ok(())
    }

    /// Closes the core, which must leave nothing open at the sites.
    ///
    /// # Errors
    /// The core cannot be closed, or left something open.
    pub async fn close(&self) -> Result<(), TestbedError> {
        self.core.close().await?;
        match self.sites().iter().map(|site| site.left_open()).sum::<usize>() {
            0 => Ok(()),
            open => Err(TestbedError::LeftOpen(open)),
        }
    }

    /// All sites: primary, recovery, other.
    #[must_use]
    pub fn sites(&self) -> [&Arc<SimSite>; 3] {
        [&self.primary, &self.recovery, &self.other]
    }
}

fn named(sites: [&Arc<SimSite>; 3]) -> BTreeMap<SiteId, Arc<SimSite>> {
    let names = ["primary", "recovery", "other"].map(SiteId::from);
    names.into_iter().zip(sites.map(Arc::clone)).collect()
}

/// Time.
impl Testbed {
    /// Advances the virtual clock.
    pub async fn advance(&self, time: Millis) {
        self.world.clock().sleep(time).await;
    }

    /// Waits for a moment at which no job and no transfer is at work and none is due. What changes
    /// at such a moment, a request changed.
    ///
    /// # Errors
    /// There is no such moment, or the core fails.
    pub async fn wait_until_idle(&self) -> Result<(), TestbedError> {
        self.world.settle().await;
        for _ in 0..IDLE_LOOKS {
            let now = self.world.clock().now();
            let transfer_near = |item: &ItemView| {
                let interval = item.policy.policy.interval.0;
                let newest = item.points.last();
                newest.is_some_and(|point| interval - now.since(point.time).0 % interval <= TRANSFER_NEAR.0)
            };
            if !self.core.items().await?.iter().any(transfer_near) {
                return Ok(());
            }
            self.advance(Millis(TRANSFER_NEAR.0 + 1)).await;
        }
        let looks = u64::from(IDLE_LOOKS) * (TRANSFER_NEAR.0 + 1);
        let what = format!("a moment between two transfers within {}", Millis(looks));
        Err(TestbedError::missing(what))
    }
}

/// Machines and items.
impl Testbed {
    /// Makes [`POLICY`], unless the core has a policy.
    ///
    /// # Errors
    /// The core refuses it.
    pub async fn make_policy(&self) -> Result<(), TestbedError> {
        if self.core.policies().await?.is_empty() {
            self.core.create_policy(&POLICY.into(), &self.policy).await?;
        }
        Ok(())
    }

    /// Makes [`POLICY`] if there is none, installs and starts a machine, and lets it run for an
    /// interval.
    ///
    /// # Errors
    /// The core refuses the policy, or the site the machine.
    pub async fn install(&self, install: &SimInstall) -> Result<(), TestbedError> {
        self.make_policy().await?;
        self.primary.install(install)?;
        self.primary.start(&install.machine).await?;
        self.advance(INTERVAL).await;
        Ok(())
    }

    /// Installs and protects a machine.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect(&self, machine: &str) -> Result<ItemId, TestbedError> {
        self.protect_machine(&SimInstall::new(machine)).await
    }

    /// Installs and protects a machine with properties of its own.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect_machine(&self, install: &SimInstall) -> Result<ItemId, TestbedError> {
        self.protect_as(install, |request| request).await
    }

    /// Installs and protects a machine in a replication group; `None`: in none.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect_in_group(
        &self,
        install: &SimInstall,
        group: Option<&str>,
    ) -> Result<ItemId, TestbedError> {
        let group = group.map(GroupId::from);
        self.protect_as(install, |request| EnableProtection { group, ..request }).await
    }

    /// Installs a machine and protects it with a changed request.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect_as(
        &self,
        install: &SimInstall,
        change: impl FnOnce(EnableProtection) -> EnableProtection,
    ) -> Result<ItemId, TestbedError> {
        self.install(install).await?;
        let request = change(enable_request(&install.machine.0));
        self.completed(self.core.enable_protection(&request).await).await?;
        Ok(request.item)
    }

    /// An item as the core shows it.
    ///
    /// # Errors
    /// The core does not show it.
    pub async fn item(&self, item: &ItemId) -> Result<ItemView, TestbedError> {
        Ok(self.core.item(item).await?)
    }

    /// Waits until the item has processed so many points in its current direction.
    ///
    /// # Errors
    /// The core says that it will not, or says nothing.
    pub async fn wait_for_points(&self, item: &ItemId, count: u64) -> Result<ItemView, TestbedError> {
        patiently(format!("point {count} of {item}"), self.core.watch_points(item, count)).await
    }

    /// The item's processed points, oldest first.
    ///
    /// # Errors
    /// The core does not show the item.
    pub async fn processed_points(&self, item: &ItemId) -> Result<Vec<RecoveryPoint>, TestbedError> {
        Ok(self.item(item).await?.points.into_iter().filter(|point| point.processed).collect())
    }

    /// The item's newest processed point.
    ///
    /// # Errors
    /// There is none.
    pub async fn newest_point(&self, item: &ItemId) -> Result<RecoveryPoint, TestbedError> {
        let newest = self.processed_points(item).await?.pop();
        newest.ok_or_else(|| TestbedError::missing(format!("a processed point of {item}")))
    }

    /// The item's oldest processed point.
    ///
    /// # Errors
    /// There is none.
    pub async fn oldest_point(&self, item: &ItemId) -> Result<RecoveryPoint, TestbedError> {
        let oldest = self.processed_points(item).await?.into_iter().next();
        oldest.ok_or_else(|| TestbedError::missing(format!("a processed point of {item}")))
    }

    /// Lets the core receive data and process none of it from now on, until the recovery site is
    /// healed.
    pub fn stall_processing(&self) {
        let next = self.recovery.calls(Call::DeriveVolume) + 1;
        let full = FailCall::at(Call::DeriveVolume, next, PlatformErrorKind::Full);
        self.recovery.inject(&Fault::Call(full.from_then_on()));
    }
}

/// Jobs.
impl Testbed {
    /// Follows a job to its end, whatever that is.
    ///
    /// # Errors
    /// The core refuses the job, or the job does not end.
    pub async fn ended(&self, job: impl IntoJob) -> Result<JobView, TestbedError> {
        self.until(job, |_| false).await
    }

    /// Follows a job until `reached` says that it is where the test wants it, or until it ends.
    ///
    /// # Errors
    /// The core refuses the job, or the job does not come so far.
    pub async fn until(
        &self,
        job: impl IntoJob,
        reached: impl Fn(&JobView) -> bool,
    ) -> Result<JobView, TestbedError> {
        let job = job.into_job()?;
        let follow = async {
            let mut view = self.core.job(&job).await?;
            while !view.state.ended() && !reached(&view) {
                view = self.core.watch_job(&job, view.revision).await?;
            }
            Ok::<_, CoreError>(view)
        };
        patiently(format!("the end of {job}"), follow).await
    }

    /// Follows a job until it is in this state.
    ///
    /// # Errors
    /// The core refuses the job, or the job ends before.
    pub async fn reaches(&self, job: impl IntoJob, state: JobState) -> Result<JobView, TestbedError> {
        let view = self.until(job, |view| view.state == state).await?;
        if view.state == state { Ok(view) } else { Err(JobFailed::from(view).into()) }
    }

    /// Follows a job to its end, which must be a success, if only with a warning.
    ///
    /// # Errors
    /// The core refuses the job, or the job does not succeed.
    pub async fn completed(&self, job: impl IntoJob) -> Result<JobView, TestbedError> {
        let view = self.ended(job).await?;
        match view.state {
            JobState::Completed | JobState::CompletedWithWarning => Ok(view),
            _ => Err(JobFailed::from(view).into()),
        }
    }
}

/// Failover, failback, reprotection.
impl Testbed {
    /// Fails over to a point, without a shutdown of the source.
    ///
    /// # Errors
    /// The failover does not succeed.
    pub async fn fail_over(&self, item: &ItemId, point: PointChoice) -> Result<JobView, TestbedError> {
        self.completed(self.core.failover(&failover_to(item, point)).await).await
    }

    /// Fails back to the latest point, and lets the machine boot.
    ///
    /// # Errors
    /// The failback does not succeed.
    pub async fn fail_back(&self, item: &ItemId) -> Result<JobView, TestbedError> {
        let request = FailoverRequest::unplanned(item, BACK);
        let job = self.completed(self.core.failover(&request).await).await?;
        self.advance(BOOT).await;
        Ok(job)
    }

    /// Commits a failover.
    ///
    /// # Errors
    /// The commit does not succeed.
    pub async fn commit(&self, item: &ItemId) -> Result<JobView, TestbedError> {
        self.completed(self.core.commit(item).await).await
    }

    /// Loses the primary site, fails over and commits, and restores the site an interval before it
    /// returns.
    ///
    /// # Errors
    /// Failover or commit do not succeed.
    pub async fn fail_over_from_lost_site(&self, item: &ItemId) -> Result<(), TestbedError> {
        self.primary.lose();
        self.fail_over(item, PointChoice::Latest).await?;
        self.commit(item).await?;
        self.primary.restore();
        self.advance(INTERVAL).await;
        Ok(())
    }

    /// Commits a failover, and replicates back to the primary site.
    ///
    /// # Errors
    /// Commit or reprotection do not succeed.
    pub async fn commit_and_reprotect(&self, item: &ItemId) -> Result<(), TestbedError> {
        self.commit(item).await?;
        self.reprotect(&self.reprotection(item, BACK)).await.map(drop)
    }

    /// Reprotects.
    ///
    /// # Errors
    /// The reprotection does not succeed.
    pub async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobView, TestbedError> {
        self.completed(self.core.reprotect(request).await).await
    }

    /// The request to replicate between recovery and primary site in this direction, with the
    /// components that the sites offer first.
    #[must_use]
    pub fn reprotection(&self, item: &ItemId, direction: Direction) -> ReprotectRequest {
        match direction {
            Direction::PrimaryToRecovery => self.reprotection_from(item, &self.primary),
            Direction::RecoveryToPrimary => self.reprotection_to(item, &self.primary),
        }
    }

    /// The request to replicate from the recovery site back to `site`, with the components that the
    /// sites offer first.
    #[must_use]
    pub fn reprotection_to(&self, item: &ItemId, site: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(item, BACK)
            .with_defaults(&self.recovery.components().all(), &site.components().all())
    }

    /// The request to replicate from `site` to the recovery site, with the components that the
    /// sites offer first.
    #[must_use]
    pub fn reprotection_from(&self, item: &ItemId, site: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(item, OUT)
            .with_defaults(&site.components().all(), &self.recovery.components().all())
    }
}

/// What came of it.
impl Testbed {
    /// The last boot of a machine on the primary site and of its copy at the recovery site.
    ///
    /// # Errors
    /// One of them was never started.
    pub fn boots(&self, machine: &str) -> Result<Boots, TestbedError> {
        let source = self.primary.last_boot(&machine.into());
        let target = self.recovery.last_boot(&cloud_machine(machine));
        Ok(Boots {
            source: source.ok_or_else(|| TestbedError::missing(format!("a boot of {machine}")))?,
            target: target
                .ok_or_else(|| TestbedError::missing(format!("a boot of the copy of {machine}")))?,
        })
    }

    /// The last boot of a machine's copy at the recovery site, and of the machine that came back
    /// from it to `site`.
    ///
    /// # Errors
    /// One of them was never started.
    pub fn failback_boots(&self, machine: &str, site: &SimSite) -> Result<Boots, TestbedError> {
        let source = self.recovery.last_boot(&cloud_machine(machine));
        let target = site.last_boot(&machine.into());
        Ok(Boots {
            source: source
                .ok_or_else(|| TestbedError::missing(format!("a boot of the copy of {machine}")))?,
            target: target.ok_or_else(|| TestbedError::missing(format!("a boot of {machine}")))?,
        })
    }

    /// How many of a machine's writes its copy at the recovery site was started with.
    ///
    /// # Errors
    /// It was not started, or from disks that the machine never had.
    pub fn recovered(&self, machine: &str) -> Result<Contained, TestbedError> {
        self.boots(machine)?.contained()
    }

    /// Whether a machine that came back to `site` has everything that its copy wrote, and is up.
    ///
    /// # Errors
    /// It was not started, or from disks that the copy never had.
    pub fn came_back(&self, machine: &str, site: &SimSite) -> Result<bool, TestbedError> {
        let boots = self.failback_boots(machine, site)?;
        Ok(boots.is_complete()? && boots.target.up.is_ok() && boots.target.ended().is_none())
    }

    /// A machine of a site that the core had to make or keep.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] if the site has no such machine.
    pub async fn machine_at(&self, site: &SimSite, machine: &str) -> Result<MachineView, TestbedError> {
        kept(&format!("the machine {machine}"), site.machine(&machine.into()).await)
    }

    /// A machine's copy at the recovery site.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] if there is none.
    pub async fn copy_of(&self, machine: &str) -> Result<MachineView, TestbedError> {
        self.machine_at(&self.recovery, &cloud_machine(machine).0).await
    }

    /// The disks of a processed point at `site`.
    ///
    /// # Errors
    /// The point names no volumes, or the site does not have them.
    pub fn point_content(
        &self,
        site: &SimSite,
        point: &RecoveryPoint,
    ) -> Result<Vec<Snapshot>, TestbedError> {
        if point.volumes.is_empty() {
            return Err(TestbedError::missing(format!("the list of volumes of {}", point.id)));
        }
        let volumes = point.volumes.iter().map(|(_, volume)| volume);
        volumes.map(|volume| volume_content(site, volume)).collect()
    }

    /// How many snapshots of a machine and of its copy were opened since each was started: zero
    /// more means that nothing replicates.
    #[must_use]
    pub fn snapshots_taken(&self, machine: &str) -> u64 {
        let copy = cloud_machine(machine);
        self.primary.snapshots_taken(&MachineId::from(machine)) + self.recovery.snapshots_taken(&copy)
    }
}

/// The content of a volume that the core had to make or keep.
///
/// # Errors
/// The site does not have it.
pub fn volume_content(site: &SimSite, volume: &contract::VolumeId) -> Result<Snapshot, TestbedError> {
    site.snapshot(volume).ok_or_else(|| TestbedError::missing(format!("the volume {volume}")))
}
