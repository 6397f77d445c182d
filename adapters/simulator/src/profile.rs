//! The differences between simulated sites, as data.

use contract::{Millis, PlatformKind, SiteId};

use crate::Link;

/// How long change tracking survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackingPersistence {
    /// A clean shutdown, as with bitmaps stored in the image.
    KeptOverShutdown,
    /// Only while the machine is running.
    LostWhenOff,
    /// There is no change tracking; whole disks must be compared.
    Never,
}

/// The description of a simulated platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimProfile {
    /// Name in reports, which always says that it is simulated.
    pub label: &'static str,
    /// The product that it represents.
    pub kind: PlatformKind,
    /// Drivers that a guest needs to find its disks.
    pub boot_drivers: &'static [&'static str],
    /// How long change tracking survives.
    pub tracking: TrackingPersistence,
}

impl SimProfile {
    /// Hyper-V, first generation: it has the cloud's controller, so that machines need no hydration
    /// (HY-04).
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
    /// KVM hosts.
    pub const KVM: Self = Self {
        label: "kvm-sim",
        kind: PlatformKind::Kvm,
        boot_drivers: &["virtio_scsi"],
        tracking: TrackingPersistence::KeptOverShutdown,
    };
    /// The profile of a stand-in's name in `scenarios.toml`, of the kinds whose machines the suite
    /// takes through whole cycles.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let known = [("vmware", Self::VMWARE), ("azure", Self::AZURE), ("kvm", Self::KVM)];
        known.into_iter().find(|(known, _)| *known == name).map(|(_, profile)| profile)
    }

    /// All profiles.
    pub const ALL: [Self; 5] = [Self::HYPERV, Self::VMWARE, Self::PHYSICAL, Self::AZURE, Self::KVM];
}

/// How a site stores disks and reports changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Granularity of storage in bytes: a power of two, at least 512.
    pub chunk: u64,
    /// Granularity of change tracking in bytes: a power of two, at least 512.
    pub grain: u64,
    /// How it divides a disk into extents.
    pub extents: Extents,
}

/// Storage in 4 KiB and tracking in 64 KiB, as in QEMU.
impl Default for Storage {
    fn default() -> Self {
        Self { chunk: 4096, grain: 65536, extents: Extents::AsTracked }
    }
}

/// How a site divides a disk into extents when a client asks which parts changed or hold data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extents {
    /// As it tracks them.
    AsTracked,
    /// At random: extents are split, and short ones are joined to their neighbours. A part that is
    /// joined counts as changed, or as data, so that nothing is left out.
    Irregular,
}

/// Configuration of a simulated site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimConfig {
    /// Its id.
    pub id: SiteId,
    /// The platform.
    pub profile: SimProfile,
    /// How it stores disks and reports changes.
    pub storage: Storage,
    /// Time from power-on until the guest starts its workload.
    pub boot_takes: Millis,
    /// Time from a shutdown request until the machine is off.
    pub shutdown_takes: Millis,
    /// The link out of the site.
    pub link: Link,
}

impl SimConfig {
    /// The defaults for most tests: the default storage, boot in 5 s, shutdown in 2 s, and a link
    /// without delay.
    pub fn new(id: impl Into<SiteId>, profile: SimProfile) -> Self {
        Self {
            id: id.into(),
            profile,
            storage: Storage::default(),
            boot_takes: Millis(5000),
            shutdown_takes: Millis(2000),
            link: Link::default(),
        }
    }
}
