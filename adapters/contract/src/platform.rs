//! The interface that a core drives: machines, disks and snapshots of one site.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, DiskSnapshot, Export, ExportId, MachineId,
    MachineSpec, MachineView, Millis, PlatformError, PlatformKind, SiteId, SnapshotId, SnapshotRequest,
    VolumeId, VolumeView,
};

/// A site, and the requirements of its hardware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteView {
    /// The site.
    pub id: SiteId,
    /// The product that it represents.
    pub kind: PlatformKind,
    /// Kernel drivers that a Linux guest must load to find its disks at this site; a copy that
    /// lacks one of them needs hydration (HY-06).
    pub boot_drivers: Vec<String>,
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

    /// Closes an export. What its clients have written and not flushed may be lost with the site.
    /// Each connection flushes what it has written itself, unless the export allows several
    /// (`NBD_FLAG_CAN_MULTI_CONN`).
    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError>;

    /// Closes every snapshot, as with [`Acknowledge::Keep`], and every export. A core calls it
    /// first when it starts: what it left open when it was killed has ids that it may not know, and
    /// would be in its way. A platform is used by one core only.
    async fn close_all(&self) -> Result<(), PlatformError>;
}
