//! The interface that a core drives: machines, disks and snapshots of one site.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    AgentVersion, Bytes, ChangeId, Component, ComponentId, Consistency, DiskId, ExportId, MachineId, Millis,
    Network, NicView, PlatformError, SiteId, SnapshotId, Timestamp, VolumeId,
};

/// The product that a site represents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// Hyper-V hosts.
    HyperV,
    /// VMware vSphere.
    Vmware,
    /// Physical servers, without a hypervisor interface.
    Physical,
    /// An Azure region.
    Azure,
}

/// A site, and the requirements of its hardware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteView {
    /// The site.
    pub id: SiteId,
    /// The product that it represents.
    pub kind: PlatformKind,
    /// Kernel drivers that a Linux guest must load to find its disks at this site; a copy that
    /// lacks one of them needs hydration (HY-06).
    pub boot_drivers: Vec<String>,
}

/// Power state of a machine.
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

/// Operating system family of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestOs {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

/// A machine as reported by its site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// The machine.
    pub id: MachineId,
    /// Power state.
    pub power: PowerState,
    /// Firmware.
    pub firmware: Firmware,
    /// Operating system.
    pub os: GuestOs,
    /// Memory in bytes.
    pub memory: Bytes,
    /// Disks in boot order; the machine boots from the first.
    pub disks: Vec<DiskView>,
    /// Hardware UUID. It never changes, and differs between machines unless they were created from
    /// the same template (RE-17).
    #[serde(default)]
    pub uuid: String,
    /// Number of snapshots above its disks; always 0 in a cloud (RE-09).
    #[serde(default)]
    pub snapshots: u32,
    /// Facts about the guest, as reported by its agent.
    #[serde(default)]
    pub guest: GuestFacts,
    /// Placement.
    #[serde(default)]
    pub placement: Placement,
    /// The process server through which its agent sends.
    #[serde(default)]
    pub process_server: Option<ComponentId>,
    /// The master target to which its disks are attached; the machine cannot start meanwhile
    /// (RE-02, EX-B8).
    #[serde(default)]
    pub disks_on: Option<ComponentId>,
    /// Whether its migration to the cloud was declared complete (RE-21).
    #[serde(default)]
    pub migrated: bool,
    /// Its network card.
    #[serde(default)]
    pub nic: NicView,
}

/// Facts about a guest, as reported by its agent. The default is a guest without problems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFacts {
    /// Release of the operating system; empty if unknown.
    pub release: String,
    /// Version of the agent (HY-01).
    pub agent: AgentVersion,
    /// Whether the DHCP service starts; a static address does not matter (HY-05).
    pub dhcp_service: bool,
    /// The drivers among [`GuestFacts::CLOUD_DRIVERS`] that start at boot (HY-06).
    pub boot_drivers: Vec<String>,
    /// Whether the SSH server starts at boot (CN-01).
    #[serde(default = "yes")]
    pub ssh_at_boot: bool,
}

fn yes() -> bool {
    true
}

impl GuestFacts {
    /// Drivers that must all start at boot in a VMware machine; otherwise its copy needs hydration
    /// (HY-06).
    pub const CLOUD_DRIVERS: [&'static str; 5] = ["storvsc", "vmbus", "storflt", "intelide", "atapi"];
    /// Release that does not support failback from a physical server (RE-20).
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

/// Placement of a machine. A platform ignores fields that do not apply to it and chooses values for
/// those that are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Host on which it runs.
    #[serde(default)]
    pub host: Option<ComponentId>,
    /// Virtual switch to which it is connected, by name (HF-23).
    #[serde(default)]
    pub switch: Option<String>,
    /// Resource group (RE-22).
    #[serde(default)]
    pub resource_group: Option<String>,
    /// Machine size, which determines its memory.
    #[serde(default)]
    pub size: Option<String>,
    /// Availability set.
    #[serde(default)]
    pub availability_set: Option<String>,
    /// Kind of its disks in a cloud.
    #[serde(default)]
    pub disk_kind: DiskKind,
    /// Subnet of the machine's network; the default in a cloud is the first one.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Address in that subnet, which the platform's DHCP assigns to this machine (CN-10); `None`:
    /// any.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
}

/// Kind of a cloud machine's disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// Blobs in a storage account.
    #[default]
    StorageAccount,
    /// Managed disks, from which a Hyper-V machine cannot fail back (HF-26).
    Managed,
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskView {
    /// The disk.
    pub id: DiskId,
    /// Its volume.
    pub volume: VolumeId,
    /// Size as the guest sees it, in bytes.
    pub size: Bytes,
}

/// Specification of a machine to create.
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
    /// Facts about the guest that its agent will report.
    #[serde(default)]
    pub guest: GuestFacts,
    /// Placement.
    #[serde(default)]
    pub placement: Placement,
}

/// A stored disk image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeView {
    /// The volume.
    pub id: VolumeId,
    /// Size as a guest sees it, in bytes.
    pub size: Bytes,
    /// The volume below it, if it is a delta.
    pub parent: Option<VolumeId>,
    /// Bytes allocated for it in the site's storage.
    pub allocated: Bytes,
    /// Its datastore, at sites that have datastores.
    #[serde(default)]
    pub datastore: Option<ComponentId>,
}

/// Permitted use of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An open export of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Id with which to close it.
    pub id: ExportId,
    /// NBD URI to connect to.
    pub uri: String,
}

/// A request for snapshots of several machines at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// The machines, each with the moment since which its changes are wanted.
    pub machines: Vec<(MachineId, Option<ChangeId>)>,
    /// [`Consistency::App`]: the applications of all machines are quiesced and their file systems
    /// frozen first.
    pub consistency: Consistency,
}

/// A snapshot of all disks of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSnapshot {
    /// Id with which to close it.
    pub id: SnapshotId,
    /// The moment of the snapshot, by the site's clock.
    pub taken_at: Timestamp,
    /// Id of this moment, for asking later what changed since.
    pub change_id: ChangeId,
    /// Every disk of the machine.
    pub disks: Vec<SnapshotDisk>,
    /// Why changes that were asked for are not available for every disk; `None` if they are.
    #[serde(default)]
    pub changes_unavailable: Option<ChangesUnavailable>,
}

/// Why a platform cannot report the changes since an earlier moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangesUnavailable {
    /// The change log was discarded because more had changed than it holds.
    LogFull,
    /// The record of changes did not survive a restart of the machine or of the component that kept
    /// it.
    RecordLost,
}

impl std::fmt::Display for ChangesUnavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LogFull => "more had changed than the change log holds",
            Self::RecordLost => "the record of changes was lost",
        })
    }
}

/// One disk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDisk {
    /// The disk.
    pub id: DiskId,
    /// Size in bytes.
    pub size: Bytes,
    /// NBD URI to read it from.
    pub uri: String,
    /// NBD meta context in which flag 1 marks what changed since the given change id. `None`: not
    /// available, so the whole disk must be compared.
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

/// The machines and storage of one site. The platform bounds the duration of every call. Calls are
/// idempotent where a repetition can be recognised: closing something closed and deleting something
/// deleted succeed.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Returns the site and the requirements of its hardware.
    async fn site(&self) -> Result<SiteView, PlatformError>;

    /// Returns everything that the site has besides machines and volumes, connected or not. It
    /// works while components are down, but not while the site is lost.
    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError>;

    /// Registers a machine with the site's configuration server, if there is one, and selects the
    /// process server through which its agent sends; `None`: any process server. While that server,
    /// or in a cloud the private connection, is down, the machine cannot be snapshotted (IN-01,
    /// IN-02).
    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError>;

    /// Detaches the disks of a machine that is off and attaches them to a master target, through
    /// which they are written from then on. Every datastore must be mounted there for writing
    /// (RE-28).
    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError>;

    /// Attaches a machine's disks to the machine again (RE-14). Succeeds if they already are.
    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError>;

    /// Merges all snapshots of a machine that is off into its disks (RE-09). Succeeds if there are
    /// none.
    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError>;

    /// Returns a machine.
    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError>;

    /// Returns all machines.
    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError>;

    /// Creates a machine from existing volumes; it stays off.
    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError>;

    /// Deletes a machine that is off. Its volumes are kept.
    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError>;

    /// Powers a machine on; returns when it executes, before its guest is up.
    async fn start(&self, id: &MachineId) -> Result<(), PlatformError>;

    /// Asks the guest to shut down and waits until the machine is off, at most `within`.
    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError>;

    /// Powers a machine off without involving its guest.
    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError>;

    /// Returns the screen of a running machine as a PNG image (CN-05).
    ///
    /// # Errors
    /// [`PlatformErrorKind::Unsupported`](crate::PlatformErrorKind::Unsupported) if the platform's
    /// machines have no screen, such as those in memory.
    async fn screenshot(&self, id: &MachineId) -> Result<Vec<u8>, PlatformError> {
        Err(PlatformError {
            site: "this platform".to_owned(),
            kind: crate::PlatformErrorKind::Unsupported,
            message: format!("machine {id} has no screen"),
        })
    }

    /// Takes a snapshot of all disks of a machine at one moment, for reading. A machine has at most
    /// one open snapshot: a new one closes the one before with [`Acknowledge::Keep`], so that
    /// snapshots left open by a core that crashed do no harm. With `since`, each disk also reports
    /// what changed from that moment to this one. Works on machines that are on or off.
    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError>;

    /// Takes snapshots of several machines that are consistent with each other: if one machine did
    /// something after it learnt of another machine's write, it is in its snapshot only if that
    /// write is in the other machine's snapshot (RP-11). The result has the order of the request;
    /// either all snapshots are taken or none. Each follows the rules of
    /// [`Platform::open_snapshot`].
    ///
    /// # Errors
    /// [`PlatformErrorKind::NotQuiesced`](crate::PlatformErrorKind::NotQuiesced) if an application
    /// cannot be quiesced; everything that was frozen is resumed.
    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError>;

    /// Closes a snapshot.
    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError>;

    /// Discards all change tracking of a machine.
    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError>;

    /// Returns a volume.
    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError>;

    /// Creates an empty volume that reads as zeroes, in this datastore if the site has any; `None`:
    /// the platform chooses.
    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError>;

    /// Creates a delta over `parent`: it reads as the parent does and has its own writes. From then
    /// on the parent must not be written.
    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError>;

    /// Merges `top` and everything between it and `base` into `base`, re-parents deltas over `top`
    /// to `base`, and deletes the merged volumes. Works under a running machine. Succeeds if `top`
    /// is gone, because it was merged before.
    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError>;

    /// Deletes a volume that nothing uses.
    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError>;

    /// Opens a volume that no running machine uses.
    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError>;

    /// Closes an export; everything written is durable afterwards.
    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError>;

    /// Closes every snapshot, as with [`Acknowledge::Keep`], and every export. A core calls it
    /// first when it starts: what it left open when it was killed has ids that it may not know, and
    /// would be in its way. A platform is used by one core only.
    async fn close_all(&self) -> Result<(), PlatformError>;
}
