//! Two simulated sites with a core between them: the fixture of the simulated tier and of the
//! core's own tests.
//!
//! A [`Testbed`] has a primary site, a recovery site, by default in the cloud, another VMware site
//! to fail back to, a virtual clock and one core, which a closure opens from [`CoreParts`]. It
//! knows the core only through [`ReplicationCore`]. Its verbs do what a test does again and again:
//! protect a machine, fail over, wait for points. Each returns a [`TestbedError`] that says whether
//! the core or the simulator failed.
//!
//! - `setup`: what a testbed starts with, names and requests
//! - `items`: machines, items and recovery points; `jobs`: following a job
//! - `failover`: failover, failback and reprotection; `closed`: no core is open
//! - `freshness`: whether a recovered machine has what its recovery point must have
//! - `recovered`: what a recovered machine was started from
//! - `plans`: recovery plans over several machines
//! - [`preconditions`]: what must hold before a machine comes back, how to break it and how to
//!   repair it

mod closed;
mod error;
mod failover;
mod freshness;
mod items;
mod jobs;
mod plans;
pub mod preconditions;
mod recovered;
mod setup;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use contract::{CoreError, ErrorCode, ItemView, Millis, PlatformErrorKind, Policy, ReplicationCore, SiteId};
use tempdirs::OwnedDir;

use crate::{Call, FailCall, SimConfig, SimFault, SimProfile, SimSite, SimWorld, Storage};

use closed::ClosedCore;

pub use error::{JobFailed, NotAPrefix, NotFresh, TestbedError, WrongPoint, kept};
pub use items::volume_content;
pub use jobs::IntoJob;
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
const PATIENCE_HOURS: u64 = 6;
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
    /// Whether a core without policies cannot be tested with this setup.
    needs_policy: bool,
    /// The core as it was opened, if something was put in front of it.
    behind: Option<Arc<dyn ReplicationCore>>,
    dir: OwnedDir,
    /// By how much the core's clock is ahead, in milliseconds.
    ahead: Arc<AtomicI64>,
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
    site.inject(&SimFault::Call(FailCall::at(call, site.calls(call) + 1, kind)));
}

/// Makes every call of one kind fail at a site, until the site is healed.
pub fn fail_calls(site: &SimSite, call: Call, kind: PlatformErrorKind) {
    let next = FailCall::at(call, site.calls(call) + 1, kind);
    site.inject(&SimFault::Call(next.from_then_on()));
}

/// Where directories in memory are made.
pub const MEMORY: &str = "/dev/shm";

/// A directory in memory, or on a disk if this host has no such directory.
///
/// # Errors
/// The host allows neither.
pub fn directory_in_memory() -> Result<OwnedDir, TestbedError> {
    OwnedDir::new_in(Path::new(MEMORY), "state").or_else(|_| directory_on_disk())
}

fn directory_on_disk() -> Result<OwnedDir, TestbedError> {
    OwnedDir::new("state").map_err(|error| TestbedError::host("make a directory for the core", error))
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
        let site =
            |id: &str, profile, storage| world.site(SimConfig { storage, ..SimConfig::new(id, profile) });
        let needs_policy = setup.policy != Setup::of(setup.profile.clone()).policy;
        let [at_primary, at_recovery] = setup.storage;
        let primary = site("primary", setup.profile, at_primary);
        let recovery = site("recovery", setup.recovery, at_recovery);
        let other = site("other", SimProfile::VMWARE, Storage::default());
        let ahead = Arc::<AtomicI64>::default();
        let core = open(CoreParts {
            sites: named([&primary, &recovery, &other]),
            dir: dir.path().to_owned(),
            clock: world.clock().clone(),
            ahead: Arc::clone(&ahead),
        })?;
        Ok(Self {
            world,
            primary,
            recovery,
            other,
            core,
            policy: setup.policy,
            needs_policy,
            behind: None,
            dir,
            ahead,
        })
    }

    /// What another core over the same sites and the same directory is opened with.
    #[must_use]
    pub fn parts(&self) -> CoreParts {
        CoreParts {
            sites: named(self.sites()),
            dir: self.dir.path().to_owned(),
            clock: self.world.clock().clone(),
            ahead: Arc::clone(&self.ahead),
        }
    }

    /// The directory of the core's own data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Closes the core and opens another one over the same sites and the same directory. If that
    /// fails, the testbed has a core that refuses everything.
    ///
    /// # Errors
    /// The core cannot be closed, or `open` fails.
    pub async fn reopen(
        &mut self,
        open: impl FnOnce(CoreParts) -> Result<Arc<dyn ReplicationCore>, CoreError>,
    ) -> Result<(), TestbedError> {
        self.core.close().await?;
        // The old core is gone before there is a new one: two would be in each other's way.
        self.core = Arc::new(ClosedCore);
        self.behind = None;
        self.core = open(self.parts())?;
        self.world.settle().await;
        Ok(())
    }

    /// Puts something in front of the core for everybody but the testbed itself.
    pub fn use_through(&mut self, front: impl FnOnce(Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore>) {
        let core = Arc::clone(self.opened());
        self.core = front(Arc::clone(&core));
        self.behind = Some(core);
    }

    /// The core as it was opened, with nothing in front of it.
    #[must_use]
    pub fn opened(&self) -> &Arc<dyn ReplicationCore> {
        self.behind.as_ref().unwrap_or(&self.core)
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
    /// Sets the clock that the core reads ahead of that of the sites, or with a negative number
    /// behind it. What the core waits for takes the same time as before.
    pub fn set_core_clock_ahead(&self, ms: i64) {
        self.ahead.store(ms, Ordering::Relaxed);
    }

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
            let items = match self.opened().items().await {
                Err(error) if error.code == ErrorCode::NotSupported => return Ok(()),
                other => other?,
            };
            let at_work = items.iter().any(|item| item.job.is_some());
            let transfers = self.sites().iter().any(|site| site.left_open() > 0);
            if !items.iter().any(transfer_near) && (at_work || !transfers) {
                return Ok(());
            }
            self.advance(Millis(TRANSFER_NEAR.0 + 1)).await;
        }
        let looks = u64::from(IDLE_LOOKS) * (TRANSFER_NEAR.0 + 1);
        let what = format!("a moment between two transfers within {}", Millis(looks));
        Err(TestbedError::missing(what))
    }
}
