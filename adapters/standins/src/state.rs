//! What a site knows of its machines, volumes and views.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8PathBuf;
use contract::{
    ChangeId, ChangesUnavailable, DiskId, ExportId, MachineId, MachineSpec, SnapshotId, VolumeId,
};
use harness::machine::Machine;
use harness::tools::Format;

use crate::Boot;

/// A stored image.
#[derive(Clone, Debug)]
pub(crate) struct VolumeRecord {
    pub(crate) path: Utf8PathBuf,
    pub(crate) format: Format,
    pub(crate) bytes: u64,
    pub(crate) parent: Option<VolumeId>,
}

/// A machine, running or not.
pub(crate) struct MachineRecord {
    pub(crate) spec: MachineSpec,
    /// The domain of its last boot; stays defined while the machine is off.
    pub(crate) domain: Option<Arc<Machine>>,
    pub(crate) boots: Vec<Arc<Boot>>,
    /// Change ids that the platform can tell changes since.
    pub(crate) tracked: Vec<ChangeId>,
    /// Whether the disk server inside its QEMU was started, by boot number.
    pub(crate) serving_boot: Option<u32>,
    /// Snapshots taken since its last boot.
    pub(crate) snapshots_taken: u64,
    /// Why views could not tell changes that were asked for, in order.
    pub(crate) changes_unavailable: Vec<ChangesUnavailable>,
}

impl MachineRecord {
    /// The guest that runs in it, if one does.
    pub(crate) fn running(&self) -> Option<&Arc<Boot>> {
        self.boots.last().filter(|boot| !boot.guest.is_gone())
    }
}

/// An open view.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotRecord {
    pub(crate) machine: MachineId,
    pub(crate) change: ChangeId,
    pub(crate) since: Option<ChangeId>,
    pub(crate) source: SnapshotSource,
}

/// Where a view's bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotSource {
    /// A running QEMU: copy-before-write into an image per disk.
    Live { boot: u32, disks: Vec<(DiskId, Utf8PathBuf)> },
    /// The agent inside the machine, in this boot of it.
    Agent { boot: u32 },
    /// Exports of images at rest.
    Resting { exports: Vec<String> },
}

/// Everything.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) volumes: BTreeMap<VolumeId, VolumeRecord>,
    pub(crate) machines: BTreeMap<MachineId, MachineRecord>,
    pub(crate) views: BTreeMap<SnapshotId, SnapshotRecord>,
    pub(crate) exports: BTreeMap<ExportId, VolumeId>,
    /// Numbers for names.
    pub(crate) counter: u64,
}

impl State {
    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// The volumes from `top` down to the bottom of its chain.
    pub(crate) fn chain(&self, top: &VolumeId) -> Vec<VolumeId> {
        let mut chain = vec![top.clone()];
        while let Some(parent) = chain.last().and_then(|id| self.volumes.get(id)?.parent.clone()) {
            chain.push(parent);
        }
        chain
    }

    /// The running machine whose disk stands on `volume`, and that disk.
    pub(crate) fn running_on(&self, volume: &VolumeId) -> Option<(Arc<Boot>, DiskId)> {
        self.machines.values().find_map(|machine| {
            let boot = machine.running()?;
            let (disk, _) = machine.spec.disks.iter().find(|(_, top)| self.chain(top).contains(volume))?;
            Some((Arc::clone(boot), disk.clone()))
        })
    }
}
