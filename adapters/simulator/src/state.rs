//! What a site knows of its machines, volumes and views.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use contract::{ChangeId, ExportId, MachineId, MachineSpec, SnapshotId, VolumeId};
use nbd::Served;

use crate::clock::moment;
use crate::guest::Guest;
use crate::store::Store;
use crate::{End, SimBoot, TrackingPersistence};

/// A machine.
pub(crate) struct MachineRecord {
    pub(crate) spec: MachineSpec,
    pub(crate) running: Option<Running>,
    /// Change ids that the platform can tell changes since.
    pub(crate) tracked: Vec<ChangeId>,
    /// Snapshots taken since its last boot.
    pub(crate) snapshots_taken: u64,
    /// The view that freezes its disks while it runs.
    pub(crate) live_snapshot: Option<SnapshotId>,
}

/// A machine that is on.
pub(crate) struct Running {
    pub(crate) boot: Arc<SimBoot>,
    /// Volumes of its disks, in boot order.
    pub(crate) volumes: Vec<VolumeId>,
    /// Absent if what it was booted from does not come up.
    pub(crate) guest: Option<Guest>,
    /// When the orderly shutdown under way will be over, in microseconds since the Unix epoch.
    pub(crate) closing: Option<u64>,
}

/// An open view.
pub(crate) struct SnapshotRecord {
    pub(crate) machine: MachineId,
    pub(crate) change: ChangeId,
    pub(crate) since: Option<ChangeId>,
    /// Whether the machine ran when it was opened.
    pub(crate) live: bool,
    pub(crate) served: Vec<Served>,
    /// Bytes read from it.
    pub(crate) bytes: Arc<AtomicU64>,
}

/// An open export of a volume.
pub(crate) struct ExportRecord {
    pub(crate) volume: VolumeId,
    pub(crate) writable: bool,
    pub(crate) served: Served,
}

/// What outlives the machines of a name.
#[derive(Default)]
pub(crate) struct Life {
    pub(crate) boots: Vec<Arc<SimBoot>>,
    /// Counts names given to its views and moments.
    pub(crate) counter: u64,
}

/// Everything.
pub(crate) struct State {
    pub(crate) tracking: TrackingPersistence,
    pub(crate) store: Store,
    pub(crate) machines: BTreeMap<MachineId, MachineRecord>,
    pub(crate) lives: BTreeMap<MachineId, Life>,
    /// Machines with a disk on the volume itself.
    pub(crate) users: BTreeMap<VolumeId, BTreeSet<MachineId>>,
    pub(crate) views: BTreeMap<SnapshotId, SnapshotRecord>,
    pub(crate) exports: BTreeMap<ExportId, ExportRecord>,
    pub(crate) exported: u64,
    /// Machines whose guests ignore requests to shut down.
    pub(crate) deaf: BTreeSet<MachineId>,
    /// Machines whose applications cannot be brought to rest.
    pub(crate) restless: BTreeSet<MachineId>,
    /// Closed once the state is let go: closing waits for requests, and they wait for the state.
    pub(crate) to_close: Vec<Served>,
}

impl State {
    pub(crate) fn new(tracking: TrackingPersistence, store: Store) -> Self {
        Self {
            tracking,
            store,
            machines: BTreeMap::new(),
            lives: BTreeMap::new(),
            users: BTreeMap::new(),
            views: BTreeMap::new(),
            exports: BTreeMap::new(),
            exported: 0,
            deaf: BTreeSet::new(),
            restless: BTreeSet::new(),
            to_close: Vec::new(),
        }
    }

    /// A number for the next name that concerns a machine.
    pub(crate) fn next(&mut self, machine: &MachineId) -> u64 {
        let life = self.lives.entry(machine.clone()).or_default();
        life.counter += 1;
        life.counter
    }

    pub(crate) fn is_running(&self, machine: &MachineId) -> bool {
        self.machines.get(machine).is_some_and(|record| record.running.is_some())
    }

    /// A running machine with a disk that stands on `volume`.
    pub(crate) fn running_on(&self, volume: &VolumeId) -> Option<&MachineId> {
        let tops = self.store.standing_on(volume);
        let users = tops.iter().filter_map(|top| self.users.get(top)).flatten();
        users.into_iter().find(|machine| self.is_running(machine))
    }

    /// Applies what the guest of a machine has done by `now`, in microseconds since the Unix epoch.
    pub(crate) fn catch_up(&mut self, id: &MachineId, now: u64) {
        let Some(running) = self.machines.get_mut(id).and_then(|machine| machine.running.as_mut()) else {
            return;
        };
        let limit = running.closing.map_or(now, |closing| closing.min(now));
        let Some(guest) = &mut running.guest else { return };
        while let Some(write) = guest.next_by(limit) {
            apply(&mut self.store, &running.boot, &running.volumes, write);
        }
        if let Some(closing) = running.closing.filter(|closing| *closing <= now) {
            if let Some(write) = guest.last_words(closing) {
                apply(&mut self.store, &running.boot, &running.volumes, write);
            }
            self.end_boot(id, closing, End::ShutDown);
        }
    }

    /// Whether the applications in a machine can be brought to rest at `now`.
    pub(crate) fn can_rest(&self, id: &MachineId, now: u64) -> bool {
        let running = self.machines.get(id).and_then(|machine| machine.running.as_ref());
        let guest = running.filter(|running| running.closing.is_none()).and_then(|on| on.guest.as_ref());
        !self.restless.contains(id) && guest.is_some_and(|guest| !guest.is_hung() && guest.up_at() <= now)
    }

    /// Brings them to rest: all that is due is done, and a quiesce mark is the last record.
    pub(crate) fn quiesce(&mut self, id: &MachineId, now: u64) {
        self.catch_up(id, now);
        let Some(running) = self.machines.get_mut(id).and_then(|machine| machine.running.as_mut()) else {
            return;
        };
        if let Some(write) = running.guest.as_mut().and_then(|guest| guest.last_words(now)) {
            apply(&mut self.store, &running.boot, &running.volumes, write);
        }
    }

    /// Applies what the guests on a volume have done by `now`.
    pub(crate) fn catch_up_on(&mut self, volume: &VolumeId, now: u64) {
        for machine in self.users.get(volume).cloned().unwrap_or_default() {
            self.catch_up(&machine, now);
        }
    }

    /// Applies the shutdowns that are over by `now`.
    pub(crate) fn finish_shutdowns(&mut self, now: u64) {
        let over = |record: &MachineRecord| {
            record.running.as_ref().and_then(|running| running.closing).is_some_and(|closing| closing <= now)
        };
        let ended: Vec<_> =
            self.machines.iter().filter(|(_, record)| over(record)).map(|(id, _)| id.clone()).collect();
        ended.iter().for_each(|id| self.catch_up(id, now));
    }

    /// The machine is off from `at` on. Whatever it served is gone, and what it tracked may be.
    pub(crate) fn end_boot(&mut self, id: &MachineId, at: u64, end: End) {
        let Some(machine) = self.machines.get_mut(id) else { return };
        let Some(running) = machine.running.take() else { return };
        running.boot.end(moment(at), end);
        if !(self.tracking == TrackingPersistence::KeptOverShutdown && end == End::ShutDown) {
            running.volumes.iter().for_each(|volume| self.store.forget_all(volume));
        }
        let view = machine.live_snapshot.take().and_then(|view| self.views.get_mut(&view));
        if let Some(view) = view {
            self.to_close.append(&mut view.served);
        }
    }
}

fn apply(store: &mut Store, boot: &SimBoot, volumes: &[VolumeId], write: crate::SimWrite) {
    // A disk that has lost what lies below takes no write; then none is on record either.
    let written = volumes.get(write.disk).map(|volume| store.write(volume, write.offset, &write.data()));
    if matches!(written, Some(Ok(()))) {
        boot.push(write);
    }
}
