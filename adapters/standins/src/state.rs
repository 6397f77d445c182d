//! The state of a site: machines, volumes, snapshots and exports.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8PathBuf;
use contract::{
    Bytes, ChangeId, ChangesUnavailable, DiskId, ExportId, MachineId, MachineSpec, SnapshotId, VolumeId,
};
use harness::machine::Machine;
use harness::tools::Format;
use inventory::Volumes;

use crate::Boot;

/// A stored image.
#[derive(Clone, Debug)]
pub(crate) struct VolumeRecord {
    pub(crate) path: Utf8PathBuf,
    pub(crate) format: Format,
    pub(crate) bytes: u64,
    pub(crate) parent: Option<VolumeId>,
}

/// A machine, running or off.
pub(crate) struct MachineRecord {
    pub(crate) spec: MachineSpec,
    /// The domain of its last boot, which stays defined while the machine is off.
    pub(crate) domain: Option<Arc<Machine>>,
    /// Its last boot. Earlier ones are not kept: each holds files and sockets open.
    pub(crate) last_boot: Option<Arc<Boot>>,
    /// Change ids since which changes are known.
    pub(crate) tracked: Vec<ChangeId>,
    /// Number of the boot in which the NBD server inside QEMU was started.
    pub(crate) serving_boot: Option<u32>,
    /// Snapshots taken since its last boot.
    pub(crate) snapshots_taken: u64,
    /// Snapshots that were opened with the question what had changed.
    pub(crate) changes_asked_for: u64,
    /// Why changes that were asked for were not available, for each such snapshot in order.
    pub(crate) changes_unavailable: Vec<ChangesUnavailable>,
}

impl MachineRecord {
    /// The current boot, if the machine is running.
    pub(crate) fn running(&self) -> Option<&Arc<Boot>> {
        self.last_boot.as_ref().filter(|boot| !boot.guest.is_gone())
    }
}

/// An open snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotRecord {
    pub(crate) machine: MachineId,
    pub(crate) change: ChangeId,
    pub(crate) since: Option<ChangeId>,
    pub(crate) source: SnapshotSource,
}

/// The source of a snapshot's content.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotSource {
    /// A running QEMU, with copy-before-write into one image per disk.
    Live { boot: u32, disks: Vec<(DiskId, Utf8PathBuf)> },
    /// The agent inside the machine, in this boot.
    Agent { boot: u32 },
    /// Exports of the images of a machine that is off.
    Offline { exports: Vec<String> },
}

/// The state of a site.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) volumes: BTreeMap<VolumeId, VolumeRecord>,
    pub(crate) machines: BTreeMap<MachineId, MachineRecord>,
    pub(crate) snapshots: BTreeMap<SnapshotId, SnapshotRecord>,
    pub(crate) exports: BTreeMap<ExportId, VolumeId>,
    /// Source of unique numbers for names.
    pub(crate) counter: u64,
}

impl State {
    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// The files of the volumes below a volume, the nearest first.
    pub(crate) fn files_below(&self, volume: &VolumeRecord) -> Vec<(Utf8PathBuf, Format)> {
        let below = volume.parent.iter().flat_map(|parent| self.chain(parent));
        below.filter_map(|id| self.volumes.get(&id)).map(|v| (v.path.clone(), v.format)).collect()
    }

    /// The running machine with a disk on `volume` or on a delta over it, and that disk.
    pub(crate) fn running_on(&self, volume: &VolumeId) -> Option<(Arc<Boot>, DiskId)> {
        self.machines.values().find_map(|machine| {
            let boot = machine.running()?;
            let (disk, _) = machine.spec.disks.iter().find(|(_, top)| self.chain(top).contains(volume))?;
            Some((Arc::clone(boot), disk.clone()))
        })
    }
}

impl Volumes for State {
    fn size_of(&self, volume: &VolumeId) -> Option<Bytes> {
        self.volumes.get(volume).map(|record| Bytes(record.bytes))
    }

    fn parent_of(&self, volume: &VolumeId) -> Option<&VolumeId> {
        self.volumes.get(volume)?.parent.as_ref()
    }
}
