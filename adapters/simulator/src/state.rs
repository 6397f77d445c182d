//! The state of a site: machines, volumes, snapshots and exports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use contract::{ChangeId, ExportId, MachineId, MachineSpec, SnapshotId, VolumeId};
use nbd::Served;

use crate::capture::{Capture, Capturing, RecentWrites};
use crate::clock::moment;
use crate::guest::Guest;
use crate::store::Store;
use crate::{End, SimBoot, SimWrite, TrackingPersistence};

/// A machine.
pub(crate) struct MachineRecord {
    pub(crate) spec: MachineSpec,
    pub(crate) running: Option<Running>,
    /// Change ids since which changes are known.
    pub(crate) tracked: Vec<ChangeId>,
    /// Snapshots taken since its last boot.
    pub(crate) snapshots_taken: u64,
    /// The open snapshot that was taken while the machine was running, in this boot.
    pub(crate) live_snapshot: Option<SnapshotId>,
}

/// A running machine.
pub(crate) struct Running {
    pub(crate) boot: Arc<SimBoot>,
    /// Volumes of its disks, in boot order.
    pub(crate) volumes: Vec<VolumeId>,
    /// `None` if the guest did not come up.
    pub(crate) guest: Option<Guest>,
    /// The last writes of the guest.
    pub(crate) recent: RecentWrites,
    /// When the shutdown in progress will be complete, in microseconds since the Unix epoch.
    pub(crate) closing: Option<u64>,
    /// Until when no changes are recorded, in microseconds since the Unix epoch.
    pub(crate) unrecorded_until: u64,
}

/// An open snapshot.
pub(crate) struct SnapshotRecord {
    pub(crate) machine: MachineId,
    pub(crate) change: ChangeId,
    pub(crate) since: Option<ChangeId>,
    /// Whether the machine was running when it was taken.
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

/// The history of all machines of one name; it outlives them.
#[derive(Default)]
pub(crate) struct MachineHistory {
    pub(crate) boots: Vec<Arc<SimBoot>>,
    /// How many boots before these were dropped.
    pub(crate) dropped: usize,
    /// Source of unique numbers for its snapshots and change ids.
    pub(crate) counter: u64,
}

/// The state of a site.
pub(crate) struct State {
    pub(crate) tracking: TrackingPersistence,
    /// What snapshots of running machines hold.
    pub(crate) capturing: Capturing,
    pub(crate) store: Store,
    pub(crate) machines: BTreeMap<MachineId, MachineRecord>,
    pub(crate) history: BTreeMap<MachineId, MachineHistory>,
    /// Machines whose disks are on the volume itself.
    pub(crate) users: BTreeMap<VolumeId, BTreeSet<MachineId>>,
    pub(crate) snapshots: BTreeMap<SnapshotId, SnapshotRecord>,
    /// The last snapshot of each machine, the only one of it that may still be open.
    pub(crate) last_snapshots: BTreeMap<MachineId, SnapshotId>,
    pub(crate) exports: BTreeMap<ExportId, ExportRecord>,
    pub(crate) exported: u64,
    /// Number of clients that have connected to exports of volumes.
    pub(crate) clients: u64,
    /// Machines whose guests were asked to shut down in this boot.
    pub(crate) shutting_down: BTreeSet<MachineId>,
    /// Machines whose guests ignore requests to shut down.
    pub(crate) ignoring_shutdown: BTreeSet<MachineId>,
    /// Machines whose applications cannot be quiesced.
    pub(crate) refusing_quiesce: BTreeSet<MachineId>,
    /// Exports to close once the state is unlocked: closing waits for their requests, which wait
    /// for the state.
    pub(crate) to_close: Vec<Served>,
}

impl State {
    pub(crate) fn new(tracking: TrackingPersistence, store: Store) -> Self {
        Self {
            tracking,
            capturing: Capturing::default(),
            store,
            machines: BTreeMap::new(),
            history: BTreeMap::new(),
            users: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            last_snapshots: BTreeMap::new(),
            exports: BTreeMap::new(),
            exported: 0,
            clients: 0,
            shutting_down: BTreeSet::new(),
            ignoring_shutdown: BTreeSet::new(),
            refusing_quiesce: BTreeSet::new(),
            to_close: Vec::new(),
        }
    }

    /// The next number for a name that concerns a machine.
    pub(crate) fn next(&mut self, machine: &MachineId) -> u64 {
        let history = self.history.entry(machine.clone()).or_default();
        history.counter += 1;
        history.counter
    }

    pub(crate) fn is_running(&self, machine: &MachineId) -> bool {
        self.machines.get(machine).is_some_and(|record| record.running.is_some())
    }

    /// A running machine with a disk on `volume` or on a delta over it.
    pub(crate) fn running_on(&self, volume: &VolumeId) -> Option<&MachineId> {
        let tops = self.store.above(volume);
        let users = tops.iter().filter_map(|top| self.users.get(top)).flatten();
        users.into_iter().find(|machine| self.is_running(machine))
    }

    /// Applies the writes of a machine's guest until `now`, in microseconds since the Unix epoch.
    pub(crate) fn catch_up(&mut self, id: &MachineId, now: u64) {
        let Some(running) = self.machines.get_mut(id).and_then(|machine| machine.running.as_mut()) else {
            return;
        };
        let limit = running.closing.map_or(now, |closing| closing.min(now));
        while let Some(write) = running.guest.as_mut().and_then(|guest| guest.next_by(limit)) {
            let recorded = self.store.records && write.at > moment(running.unrecorded_until);
            let before = std::mem::replace(&mut self.store.records, recorded);
            apply(&mut self.store, self.capturing.capture, running, write);
            self.store.records = before;
        }
        if let Some(closing) = running.closing.filter(|closing| *closing <= now) {
            if let Some(write) = running.guest.as_mut().and_then(|guest| guest.quiesce_mark(closing)) {
                apply(&mut self.store, self.capturing.capture, running, write);
            }
            self.end_boot(id, closing, End::ShutDown);
        }
    }

    /// Whether the applications in a machine can be quiesced at `now`.
    pub(crate) fn can_quiesce(&self, id: &MachineId, now: u64) -> bool {
        let running = self.machines.get(id).and_then(|machine| machine.running.as_ref());
        let guest = running.filter(|running| running.closing.is_none()).and_then(|on| on.guest.as_ref());
        !self.refusing_quiesce.contains(id)
            && guest.is_some_and(|guest| !guest.is_hung() && guest.up_at() <= now)
    }

    /// Quiesces the applications in a machine: everything that is due is written, followed by a
    /// quiesce mark.
    pub(crate) fn quiesce(&mut self, id: &MachineId, now: u64) {
        self.catch_up(id, now);
        let Some(running) = self.machines.get_mut(id).and_then(|machine| machine.running.as_mut()) else {
            return;
        };
        if let Some(write) = running.guest.as_mut().and_then(|guest| guest.quiesce_mark(now)) {
            apply(&mut self.store, self.capturing.capture, running, write);
        }
    }

    /// Applies the writes of the guests on a volume until `now`.
    pub(crate) fn catch_up_on(&mut self, volume: &VolumeId, now: u64) {
        for machine in self.users.get(volume).cloned().unwrap_or_default() {
            self.catch_up(&machine, now);
        }
    }

    /// Applies the shutdowns that are complete at `now`.
    pub(crate) fn finish_shutdowns(&mut self, now: u64) {
        let closing = |id: &MachineId| self.machines.get(id)?.running.as_ref()?.closing;
        let over = |id: &&MachineId| closing(id).is_some_and(|closing| closing <= now);
        let ended: Vec<_> = self.shutting_down.iter().filter(over).cloned().collect();
        ended.iter().for_each(|id| self.catch_up(id, now));
    }

    /// Ends a boot at `at`. Its snapshot is closed, and its change tracking may be lost.
    pub(crate) fn end_boot(&mut self, id: &MachineId, at: u64, end: End) {
        self.shutting_down.remove(id);
        let Some(machine) = self.machines.get_mut(id) else { return };
        let Some(running) = machine.running.take() else { return };
        running.boot.end(moment(at), end);
        if !(self.tracking == TrackingPersistence::KeptOverShutdown && end == End::ShutDown) {
            running.volumes.iter().for_each(|volume| self.store.forget_all(volume));
        }
        let snapshot = machine.live_snapshot.take().and_then(|id| self.snapshots.get_mut(&id));
        if let Some(snapshot) = snapshot {
            self.to_close.append(&mut snapshot.served);
        }
    }
}

fn apply(store: &mut Store, capture: Capture, running: &mut Running, write: SimWrite) {
    let Some(volume) = running.volumes.get(write.disk) else { return };
    let mut before = vec![0; if capture == Capture::InOrder { 0 } else { write.length as usize }];
    // A disk without the volumes below it cannot be written, and then no write is recorded.
    let readable = store.read(volume, write.offset, &mut before);
    if readable.and_then(|()| store.write(volume, write.offset, &write.data())).is_ok() {
        running.recent.add(capture, &write, before);
        running.boot.push(write);
    }
}
