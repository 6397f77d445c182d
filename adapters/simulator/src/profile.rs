//! What makes each simulated site different, as data.

use contract::{Millis, PlatformKind, SiteId};

use crate::Link;

/// How long a platform can tell what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackingPersistence {
    /// Over an orderly shutdown, as with bitmaps kept in the image.
    KeptOverShutdown,
    /// Until the machine is off.
    LostWhenOff,
    /// Never; disks must be compared as a whole.
    Never,
}

/// One kind of platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimProfile {
    /// Name in reports; always says that it is simulated.
    pub label: &'static str,
    /// What it stands in for.
    pub kind: PlatformKind,
    /// Drivers a guest needs to find its disks.
    pub boot_drivers: &'static [&'static str],
    /// How long it can tell what changed.
    pub tracking: TrackingPersistence,
}

impl SimProfile {
    /// Hyper-V, first generation: the same controller as the cloud's, so that a machine needs no hydration (HY-04).
    pub const HYPERV: Self = Self {
        label: "hyperv-sim",
        kind: PlatformKind::HyperV,
        boot_drivers: &["ata_piix"],
        tracking: TrackingPersistence::LostWhenOff,
    };
    /// VMware.
    pub const VMWARE: Self = Self {
        label: "vmware-sim",
        kind: PlatformKind::Vmware,
        boot_drivers: &["vmw_pvscsi"],
        tracking: TrackingPersistence::LostWhenOff,
    };
    /// Physical servers.
    pub const PHYSICAL: Self = Self {
        label: "physical-sim",
        kind: PlatformKind::Physical,
        boot_drivers: &["ahci"],
        tracking: TrackingPersistence::Never,
    };
    /// Azure.
    pub const AZURE: Self = Self {
        label: "azure-sim",
        kind: PlatformKind::Azure,
        boot_drivers: &["ata_piix"],
        tracking: TrackingPersistence::KeptOverShutdown,
    };
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HYPERV, Self::VMWARE, Self::PHYSICAL, Self::AZURE];
}

/// What a simulated site is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// Its name.
    pub id: SiteId,
    /// What it stands in for.
    pub profile: SimProfile,
    /// Granularity of storage in bytes: a power of two, 512 at least.
    pub chunk: u64,
    /// Granularity of change tracking in bytes: a power of two, 512 at least.
    pub grain: u64,
    /// From power-on until the guest does its work.
    pub boot_takes: Millis,
    /// From the request to shut down until the machine is off.
    pub shutdown_takes: Millis,
    /// The way out of the site.
    pub link: Link,
}

impl SimConfig {
    /// A site with what most tests want: storage in 4 KiB, tracking in 64 KiB as QEMU's, boot 5 s, shutdown 2 s, a
    /// link that takes no time, and views left open in the way, as on the real stand-ins.
    pub fn new(id: impl Into<SiteId>, profile: SimProfile) -> Self {
        Self {
            id: id.into(),
            profile,
            chunk: 4096,
            grain: 65536,
            boot_takes: Millis(5000),
            shutdown_takes: Millis(2000),
            link: Link::default(),
        }
    }
}
