//! What a testbed starts with, and the names that it gives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use contract::{
    Bytes, Direction, EnableProtection, FailoverRequest, ItemId, MachineId, Millis, Platform, PointChoice,
    Policy, SiteId, TargetSettings, Timestamp,
};

use crate::{Load, SimClock, SimInstall, SimProfile, SimSite, Storage};

/// Out of the primary site.
pub const OUT: Direction = Direction::PrimaryToRecovery;
/// Back to the primary site.
pub const BACK: Direction = Direction::RecoveryToPrimary;
/// Time between two transfers, unless a policy says otherwise.
pub const INTERVAL: Millis = Millis(60_000);
/// More time than a guest takes to boot.
pub const BOOT: Millis = Millis(10_000);
/// An hour.
pub const HOUR: Millis = Millis(60 * 60 * 1000);
/// Name of the policy that [`enable_request`] names.
pub const POLICY: &str = "standard";

/// The primary site and the policy of its machines.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Platform of the primary site.
    pub profile: SimProfile,
    /// Platform of the recovery site.
    pub recovery: SimProfile,
    /// How the primary and the recovery site store disks.
    pub storage: [Storage; 2],
    /// The policy that [`Testbed::install`](super::Testbed::install) makes if the core has none.
    pub policy: Policy,
    /// Keeps the core's directory on a disk rather than in memory, for cores that store much.
    pub on_disk: bool,
}

impl Setup {
    /// VMware machines: a transfer a minute, no application-consistent points, twenty points at
    /// least.
    #[must_use]
    pub fn vmware() -> Self {
        Self::of(SimProfile::VMWARE)
    }

    /// Machines of any platform that fail over to Azure: a transfer a minute, no
    /// application-consistent points, twenty points at least.
    #[must_use]
    pub fn of(profile: SimProfile) -> Self {
        let policy = Policy {
            most_points: Some(20),
            app_consistent_every: None,
            ..Policy::for_machines_of(profile.kind, INTERVAL)
        };
        let storage = [Storage::default(); 2];
        Self { profile, recovery: SimProfile::AZURE, storage, policy, on_disk: false }
    }

    /// Changes the policy.
    #[must_use]
    pub fn with_policy(self, change: impl FnOnce(Policy) -> Policy) -> Self {
        Self { policy: change(self.policy), ..self }
    }

    /// Has them fail over to another platform.
    #[must_use]
    pub fn to(self, recovery: SimProfile) -> Self {
        Self { recovery, ..self }
    }

    /// Keeps no more than so many points.
    #[must_use]
    pub fn keeping(self, points: u32) -> Self {
        self.with_policy(|policy| Policy { most_points: Some(points), ..policy })
    }
}

/// What a core is opened with.
pub struct CoreParts {
    /// The sites `primary`, `recovery` and `other`.
    pub sites: BTreeMap<SiteId, Arc<SimSite>>,
    /// A directory for the core's own data.
    pub dir: PathBuf,
    /// The virtual clock.
    pub clock: SimClock,
    /// By how much the clock that the core reads is ahead of it, in milliseconds.
    pub ahead: Arc<AtomicI64>,
}

impl CoreParts {
    /// The time that the core reads.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0.saturating_add_signed(self.ahead.load(Ordering::Relaxed)))
    }

    /// The sites as a core sees them.
    #[must_use]
    pub fn platforms(&self) -> BTreeMap<SiteId, Arc<dyn Platform>> {
        let as_platform = |site: &Arc<SimSite>| Arc::clone(site) as Arc<dyn Platform>;
        self.sites.iter().map(|(id, site)| (id.clone(), as_platform(site))).collect()
    }
}

/// Name of the item that protects a machine.
#[must_use]
pub fn item_of(machine: &str) -> ItemId {
    ItemId(format!("item-{machine}"))
}

/// Name of a machine's copy at the recovery site.
#[must_use]
pub fn cloud_machine(machine: &str) -> MachineId {
    MachineId(format!("{machine}-dr"))
}

/// Name of the machine that a test failover starts.
#[must_use]
pub fn test_machine(machine: &str) -> MachineId {
    MachineId(format!("{machine}-dr-test"))
}

/// A machine that writes so little that a simulation of days stays cheap.
#[must_use]
pub fn low_write_machine(machine: &str) -> SimInstall {
    let load = Load { record_every: Millis(20 * 60_000), churn_every: Millis(0), ..Load::default() };
    SimInstall { load, ..SimInstall::new(machine) }
}

/// The request to protect a machine of the primary site under [`POLICY`], in no group.
#[must_use]
pub fn enable_request(machine: &str) -> EnableProtection {
    EnableProtection {
        item: item_of(machine),
        primary: "primary".into(),
        machine: machine.into(),
        recovery: "recovery".into(),
        target: TargetSettings::new(cloud_machine(machine), Bytes(1 << 30)),
        policy: POLICY.into(),
        group: None,
    }
}

/// The request for an unplanned failover out of the primary site to this point, without a shutdown
/// of the source.
#[must_use]
pub fn failover_to(item: &ItemId, point: PointChoice) -> FailoverRequest {
    FailoverRequest { point, ..FailoverRequest::unplanned(item, OUT) }
}

/// The request for an unplanned failover to the latest point that shuts the source down first, if
/// it can.
#[must_use]
pub fn failover_with_shutdown(item: &ItemId) -> FailoverRequest {
    FailoverRequest { shut_down_source: true, ..FailoverRequest::unplanned(item, OUT) }
}
