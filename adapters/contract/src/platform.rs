//! What a core drives: the machines, disks and views of one site.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    AgentVersion, Bytes, ChangeId, Component, ComponentId, Consistency, DiskId, ExportId, MachineId, Millis,
    Network, NicView, PlatformError, SiteId, SnapshotId, Timestamp, VolumeId,
};

/// Which product a site stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// Hyper-V hosts.
    HyperV,
    /// VMware vSphere.
    Vmware,
    /// Physical servers; no hypervisor interface on this side.
    Physical,
    /// An Azure region.
    Azure,
}

/// A site and what its hardware asks of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteView {
    /// The site.
    pub id: SiteId,
    /// What it stands in for.
    pub kind: PlatformKind,
    /// Kernel drivers a Linux guest must load to find its disks here; a copy that lacks one of them needs
    /// hydration (HY-06).
    pub boot_drivers: Vec<String>,
}

/// Whether a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerState {
    /// Running.
    On,
    /// Not running.
    Off,
}

/// Firmware a machine boots with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// PC BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// Family of the operating system inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestOs {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

/// A machine as its site shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// The machine.
    pub id: MachineId,
    /// Whether it runs.
    pub power: PowerState,
    /// Firmware.
    pub firmware: Firmware,
    /// Operating system.
    pub os: GuestOs,
    /// Memory in bytes.
    pub memory: Bytes,
    /// Disks in boot order; the first one is booted from.
    pub disks: Vec<DiskView>,
    /// Hardware UUID; stays with the machine, and another machine has another, unless both come from one template
    /// (RE-17).
    #[serde(default)]
    pub uuid: String,
    /// Levels of snapshots that lie above its disks; always 0 in a cloud (RE-09).
    #[serde(default)]
    pub snapshots: u32,
    /// What its agent tells of the guest.
    #[serde(default)]
    pub guest: GuestFacts,
    /// Where it was put, and as what.
    #[serde(default)]
    pub placement: Placement,
    /// The process server its agent sends through.
    #[serde(default)]
    pub process_server: Option<ComponentId>,
    /// The master target on which its disks hang; it cannot be started meanwhile (RE-02, EX-B8).
    #[serde(default)]
    pub disks_on: Option<ComponentId>,
    /// Its migration to the cloud was declared complete (RE-21).
    #[serde(default)]
    pub migrated: bool,
    /// Its network card.
    #[serde(default)]
    pub nic: NicView,
}

/// What the agent inside tells of a guest. The default is one with nothing to object to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFacts {
    /// Release of the operating system; empty if it is not known.
    pub release: String,
    /// Version of the agent (HY-01).
    pub agent: AgentVersion,
    /// Whether the DHCP service starts; whether the address is static does not matter (HY-05).
    pub dhcp_service: bool,
    /// Those of [`GuestFacts::CLOUD_DRIVERS`] that start at boot (HY-06).
    pub boot_drivers: Vec<String>,
    /// Whether the SSH server starts at boot (CN-01).
    #[serde(default = "yes")]
    pub ssh_at_boot: bool,
}

fn yes() -> bool {
    true
}

impl GuestFacts {
    /// Drivers of which each must start at boot in a VMware machine, or its copy needs hydration (HY-06).
    pub const CLOUD_DRIVERS: [&'static str; 5] = ["storvsc", "vmbus", "storflt", "intelide", "atapi"];
    /// The release of a physical server that cannot fail back (RE-20).
    pub const WINDOWS_2008_R2_SP1: &'static str = "Windows Server 2008 R2 SP1";
}

impl Default for GuestFacts {
    fn default() -> Self {
        Self {
            release: String::new(),
            agent: AgentVersion::default(),
            dhcp_service: true,
            boot_drivers: Self::CLOUD_DRIVERS.map(ToOwned::to_owned).to_vec(),
            ssh_at_boot: true,
        }
    }
}

/// Where a machine is put, and as what. A platform takes what it knows and chooses what is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Host it runs on.
    #[serde(default)]
    pub host: Option<ComponentId>,
    /// Virtual switch it hangs on, by name (HF-23).
    #[serde(default)]
    pub switch: Option<String>,
    /// Resource group (RE-22).
    #[serde(default)]
    pub resource_group: Option<String>,
    /// Size; decides its memory.
    #[serde(default)]
    pub size: Option<String>,
    /// Availability set.
    #[serde(default)]
    pub availability_set: Option<String>,
    /// What its disks are in a cloud.
    #[serde(default)]
    pub disk_kind: DiskKind,
    /// Subnet, one of the machine's network; a cloud puts a machine that names none into the first.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Address in that subnet, which the platform's DHCP gives this machine (CN-10); `None`: any.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
}

/// What a cloud machine's disks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// Blobs in a storage account.
    #[default]
    StorageAccount,
    /// Disks that the cloud manages; a Hyper-V machine cannot fail back from them (HF-26).
    Managed,
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskView {
    /// The disk.
    pub id: DiskId,
    /// The volume it lies on.
    pub volume: VolumeId,
    /// Size as the guest sees it, in bytes.
    pub size: Bytes,
}

/// What a machine shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Its name.
    pub id: MachineId,
    /// Firmware.
    pub firmware: Firmware,
    /// Operating system.
    pub os: GuestOs,
    /// Memory in bytes.
    pub memory: Bytes,
    /// Disks in boot order with the volumes to use.
    pub disks: Vec<(DiskId, VolumeId)>,
    /// Network.
    #[serde(default)]
    pub network: Network,
    /// What its agent will tell of the guest.
    #[serde(default)]
    pub guest: GuestFacts,
    /// Where it shall be put, and as what.
    #[serde(default)]
    pub placement: Placement,
}

/// A stored disk image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeView {
    /// The volume.
    pub id: VolumeId,
    /// Size as a guest would see it, in bytes.
    pub size: Bytes,
    /// The volume it is a delta over, if it is one.
    pub parent: Option<VolumeId>,
    /// Bytes it takes in the site's storage.
    pub allocated: Bytes,
    /// The datastore it lies in, where there are any.
    #[serde(default)]
    pub datastore: Option<ComponentId>,
}

/// What an export may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// An open door to a volume's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Name to close it by.
    pub id: ExportId,
    /// Where to connect.
    pub uri: String,
}

/// Snapshots of several machines at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The machines, each with the moment from which its changes are asked.
    pub machines: Vec<(MachineId, Option<ChangeId>)>,
    /// [`Consistency::App`]: the applications are brought to rest first, in all of them, and the file systems frozen.
    pub consistency: Consistency,
}

/// All disks of one machine as they were at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSnapshot {
    /// Name to close it by.
    pub id: SnapshotId,
    /// The moment, by the site's clock.
    pub taken_at: Timestamp,
    /// Name of this moment; ask later what changed since.
    pub change_id: ChangeId,
    /// Every disk of the machine.
    pub disks: Vec<SnapshotDisk>,
    /// Why not every disk tells what changed, where that was asked; `None` where all of them do.
    #[serde(default)]
    pub changes_unavailable: Option<ChangesUnavailable>,
}

/// Why a platform cannot tell what changed since a moment that it once named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangesUnavailable {
    /// More had changed than its log holds, and the log was given up.
    LogFull,
    /// Its record of changes did not outlive an end of the machine or of whoever kept it.
    RecordLost,
}

impl std::fmt::Display for ChangesUnavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LogFull => "more had changed than the log of changes holds",
            Self::RecordLost => "the record of changes is lost",
        })
    }
}

/// One disk in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDisk {
    /// The disk.
    pub id: DiskId,
    /// Size in bytes.
    pub size: Bytes,
    /// Where to read it.
    pub uri: String,
    /// NBD meta context whose flag 1 marks what changed since the change id asked about. `None`: the platform
    /// cannot tell, and the disk must be compared as a whole.
    pub changed: Option<String>,
}

/// What the platform does with its change tracking when a snapshot is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledge {
    /// The snapshot's changes reached their destination: the platform may forget the older change id.
    Advance,
    /// They did not: the next snapshot must be able to report everything since the older change id.
    Keep,
}

/// One site's machines and storage. Every call is bounded by the platform itself and idempotent where a
/// repetition can be recognised: closing what is closed and deleting what is gone succeeds.
#[async_trait]
pub trait Platform: Send + Sync {
    /// The site and its hardware.
    async fn site(&self) -> Result<SiteView, PlatformError>;

    /// Everything the site has besides machines and volumes, connected or not. It is what is known of it: it can be
    /// asked for while components are down, but not while the site is lost.
    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError>;

    /// Enters a machine into the configuration server's database, where the site has one, and lets its agent send
    /// through this process server from now on; `None`: through none in particular. While that server, or in a cloud
    /// the private connection, is down, the machine has no views (IN-01, IN-02).
    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError>;

    /// Takes the disks off a machine that is off and hangs them on a master target, through which they are written
    /// from then on. Every datastore must be mounted there for writing (RE-28).
    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError>;

    /// Hangs a machine's disks back on itself (RE-14); it may have them already.
    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError>;

    /// Merges all snapshots of a machine that is off into its disks (RE-09); there may be none.
    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError>;

    /// One machine.
    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError>;

    /// All machines.
    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError>;

    /// Makes a machine of existing volumes; it stays off.
    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError>;

    /// Removes a machine that is off. Its volumes stay.
    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError>;

    /// Switches a machine on; returns once it executes, not once its guest is up.
    async fn start(&self, id: &MachineId) -> Result<(), PlatformError>;

    /// Asks the guest to shut down and waits until the machine is off, `within` at most.
    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError>;

    /// Switches a machine off without asking its guest.
    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError>;

    /// What a running machine shows on its screen, as a PNG image (CN-05).
    ///
    /// # Errors
    /// [`PlatformErrorKind::Unsupported`](crate::PlatformErrorKind::Unsupported) from a platform whose machines have no
    /// screen, as those in memory.
    async fn screenshot(&self, id: &MachineId) -> Result<Vec<u8>, PlatformError> {
        Err(PlatformError {
            site: "this platform".to_owned(),
            kind: crate::PlatformErrorKind::Unsupported,
            message: format!("machine {id} has no screen"),
        })
    }

    /// Freezes all disks of a machine at one moment, for reading. A machine has one view at a time: a new one ends the
    /// one before, as if it had been closed with [`Acknowledge::Keep`], so that nothing a dead core left open is in the way. With `since`, each disk also tells what
    /// changed from that moment to this one. Works on machines that are on or off.
    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError>;

    /// Freezes all disks of several machines so that no view shows the effect of a write whose cause another lacks: what
    /// one machine did after it learnt of another's write is in its view only if that write is in the other's (RP-11).
    /// In the order asked; all or none. Each view follows the rules of [`Platform::open_snapshot`].
    ///
    /// # Errors
    /// [`PlatformErrorKind::NotQuiesced`](crate::PlatformErrorKind::NotQuiesced) if an application cannot be brought to
    /// rest; whatever was frozen goes on.
    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError>;

    /// Ends a view.
    async fn close_snapshot(&self, view: &SnapshotId, acknowledge: Acknowledge) -> Result<(), PlatformError>;

    /// Forgets all change tracking of a machine.
    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError>;

    /// One volume.
    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError>;

    /// Makes an empty volume that reads as zeroes, in this datastore where there are any; `None`: the platform
    /// chooses.
    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError>;

    /// Makes a delta over `parent`: reads as the parent does, takes writes of its own. From then on the parent
    /// must not be written.
    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError>;

    /// Merges `top` and everything between it and `base` into `base`, re-parents deltas over `top` to `base`,
    /// and deletes the merged volumes. Works under a running machine. A `top` that is gone was merged before.
    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError>;

    /// Deletes a volume that nothing uses.
    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError>;

    /// Opens a volume of no running machine.
    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError>;

    /// Closes an export; what was written is durable afterwards.
    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError>;

    /// Closes every view, as [`Acknowledge::Keep`], and every export. A core that starts calls it first: what it left open
    /// when it was killed has names that it never heard, and must not stand in its way. One core uses a platform.
    async fn close_all(&self) -> Result<(), PlatformError>;
}
