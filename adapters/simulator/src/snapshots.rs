//! Snapshots of all disks of a machine, and the changes between two of them, with the rules of the
//! real stand-ins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::{
    Acknowledge, Bytes, ChangeId, ChangesUnavailable, Consistency, DiskSnapshot, MachineId, PlatformError,
    PlatformErrorKind as Kind, SnapshotDisk, SnapshotId, SnapshotRequest, VolumeId,
};
use nbd::Served;

use crate::capture::Lacking;
use crate::clock::{micros, moment};
use crate::exports::SnapshotExport;
use crate::seeds::seed_of;
use crate::state::{SnapshotRecord, State};
use crate::tracker_lies::MERGING;
use crate::{SimSite, TrackerLie, TrackingPersistence};

/// A disk of a snapshot that is being taken.
struct Frozen {
    export: SnapshotExport,
    shown: SnapshotDisk,
}

impl SimSite {
    pub(crate) async fn take_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.clock().sleep(self.faults().link().latency).await;
        let now = self.clock().micros();
        let snapshot = self.with(|state| self.freeze(state, machine, since, now))?;
        let known = snapshot.disks.iter().filter(|disk| disk.changed.is_some()).count();
        self.note(&machine.0, format!("{} taken, changes known for {known} disks", snapshot.change_id));
        Ok(snapshot)
    }

    pub(crate) async fn take_snapshots(
        &self,
        request: &SnapshotRequest,
    ) -> Result<Vec<DiskSnapshot>, PlatformError> {
        self.clock().sleep(self.faults().link().latency).await;
        let now = self.clock().micros();
        self.with(|state| {
            for (machine, _) in &request.machines {
                state.catch_up(machine, now);
                if request.consistency == Consistency::App && !state.can_quiesce(machine, now) {
                    let text = format!("the applications in {machine} cannot be quiesced");
                    return Err(self.refuse(Kind::NotQuiesced, text));
                }
            }
            if request.consistency == Consistency::App {
                request.machines.iter().for_each(|(machine, _)| state.quiesce(machine, now));
            }
            self.freeze_each(state, request, now)
        })
    }

    /// Takes all snapshots, or none if one fails.
    fn freeze_each(
        &self,
        state: &mut State,
        request: &SnapshotRequest,
        now: u64,
    ) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let mut snapshots: Vec<DiskSnapshot> = Vec::new();
        for (machine, since) in &request.machines {
            match self.freeze(state, machine, since.as_ref(), now) {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(error) => {
                    for snapshot in &snapshots {
                        self.end_snapshot(state, &snapshot.id, Acknowledge::Keep)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(snapshots)
    }

    fn freeze(
        &self,
        state: &mut State,
        machine: &MachineId,
        since: Option<&ChangeId>,
        now: u64,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.components().check_snapshot(machine).map_err(self.denied())?;
        state.catch_up(machine, now);
        let left_open = state.last_snapshots.get(machine).cloned();
        if let Some(open) = left_open {
            self.end_snapshot(state, &open, Acknowledge::Keep)?;
        }
        let record = state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
        record.snapshots_taken += 1;
        let live = record.running.is_some();
        let asked = since.is_some();
        let since = since.filter(|id| record.tracked.contains(id)).cloned();
        let change = ChangeId(format!("change-{machine}-{}", state.next(machine)));
        let bytes = Arc::default();
        let lacking = self.lacking(state, machine, &change);
        let frozen = self.freeze_disks(state, (machine, lacking.as_ref()), since.as_ref(), &bytes)?;
        let missing = lacking.map(|lacking| lacking.places(&volumes_of(state, machine)));
        if live && state.tracking != TrackingPersistence::Never {
            self.track(state, machine, &change, since.as_ref());
        }
        // What this snapshot lacks, the next one has changed.
        for (volume, offset, length) in missing.into_iter().flatten() {
            state.store.mark(&volume, offset, length);
        }
        let id = SnapshotId(format!("snapshot-{machine}-{}", state.next(machine)));
        let (disks, served): (Vec<_>, _) = frozen.into_iter().map(|disk| self.serve(machine, disk)).unzip();
        let record =
            SnapshotRecord { machine: machine.clone(), change: change.clone(), since, live, served, bytes };
        state.snapshots.insert(id.clone(), record);
        state.last_snapshots.insert(machine.clone(), id.clone());
        if let Some(record) = state.machines.get_mut(machine).filter(|_| live) {
            record.live_snapshot = Some(id.clone());
        }
        let changes_unavailable = asked && disks.iter().any(|disk: &SnapshotDisk| disk.changed.is_none());
        let changes_unavailable = changes_unavailable.then_some(ChangesUnavailable::RecordLost);
        Ok(DiskSnapshot {
            id,
            taken_at: self.dated(moment(now)),
            change_id: change,
            disks,
            changes_unavailable,
        })
    }

    /// What a snapshot of a machine that is running lacks, if it lacks anything.
    fn lacking<'a>(&self, state: &'a State, machine: &MachineId, change: &ChangeId) -> Option<Lacking<'a>> {
        let running = state.machines.get(machine)?.running.as_ref()?;
        let lacking = running.recent.leave_out(seed_of(self.seed(), &[&change.0], 0))?;
        state.capturing.may_lack().then_some(lacking)
    }

    fn serve(&self, machine: &MachineId, disk: Frozen) -> (SnapshotDisk, Served) {
        let name = format!("{}-{machine}-{}", self.config().id, disk.shown.id);
        let served = self.serve_disk(&name, Arc::new(disk.export));
        (SnapshotDisk { uri: served.uri(), ..disk.shown }, served)
    }

    fn freeze_disks(
        &self,
        state: &State,
        (machine, lacking): (&MachineId, Option<&Lacking<'_>>),
        since: Option<&ChangeId>,
        bytes: &Arc<AtomicU64>,
    ) -> Result<Vec<Frozen>, PlatformError> {
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        let freeze = |(number, (id, volume)): (usize, &(_, VolumeId))| {
            let content = state
                .store
                .snapshot(volume)
                .map_err(|broken| self.refuse(Kind::Failed, format!("freeze the disks: {broken}")))?;
            let content = match lacking {
                Some(lacking) => lacking.of_disk(number, content),
                None => content,
            };
            let since = since.filter(|_| self.faults().names_changes_of(number));
            let told = |changes| match self.faults().tracker_lie() {
                Some(lie) => lie.instead(changes, number, content.size()),
                None => changes,
            };
            let changes = since.and_then(|since| Some((context(since), state.store.changed(volume, since)?)));
            let changed = changes.map(|(context, changes)| (context, told(changes)));
            let shown = SnapshotDisk {
                id: contract::DiskId::clone(id),
                size: Bytes(content.size()),
                uri: String::new(),
                changed: changed.as_ref().map(|(context, _)| context.clone()),
            };
            let (faults, bytes) = (Arc::clone(self.faults()), Arc::clone(bytes));
            let division = self.division(&volume.0);
            Ok(Frozen { export: SnapshotExport::new(content, changed, division, faults, bytes), shown })
        };
        record.spec.disks.iter().enumerate().map(freeze).collect()
    }

    /// Tracks changes since this moment, and freezes the record since the older one for reading.
    fn track(&self, state: &mut State, machine: &MachineId, change: &ChangeId, since: Option<&ChangeId>) {
        for volume in volumes_of(state, machine) {
            state.store.track(&volume, change);
            if let Some(since) = since {
                state.store.freeze(&volume, since);
            }
        }
        if let Some(record) = state.machines.get_mut(machine) {
            record.tracked.push(change.clone());
        }
    }

    pub(crate) async fn drop_snapshot(
        &self,
        id: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        let read = self.with(|state| {
            let snapshot = state.snapshots.get(id)?;
            Some((snapshot.machine.clone(), snapshot.bytes.load(Ordering::Relaxed)))
        });
        let Some((machine, read)) = read else { return Ok(()) };
        let omits = self.faults().tracker_lie() == Some(TrackerLie::OmitsWhileClosing);
        if omits {
            let now = self.clock().micros();
            self.with(|state| state.catch_up(&machine, now));
        }
        self.clock().sleep(self.faults().link().takes(read)).await;
        let now = self.clock().micros();
        self.note(&machine.0, format!("{id} closed, acknowledge: {acknowledge:?}, {read} bytes"));
        self.with(|state| {
            state.store.record_changes(!omits);
            state.catch_up(&machine, now);
            state.store.record_changes(true);
            let merges = self.faults().tracker_lie() == Some(TrackerLie::OmitsWhileMerging);
            let running = state.machines.get_mut(&machine).and_then(|record| record.running.as_mut());
            if let Some(running) = running.filter(|_| merges) {
                running.unrecorded_until = now + micros(MERGING);
            }
            self.end_snapshot(state, id, acknowledge)
        })
    }

    fn end_snapshot(
        &self,
        state: &mut State,
        id: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        let Some(mut snapshot) = state.snapshots.remove(id) else { return Ok(()) };
        state.to_close.append(&mut snapshot.served);
        let machine = &snapshot.machine;
        let record = state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
        let runs_on = record.live_snapshot.as_ref() == Some(id);
        if runs_on {
            record.live_snapshot = None;
        }
        if !snapshot.live {
            return Ok(());
        }
        if let (Some(since), Acknowledge::Keep, false) = (&snapshot.since, acknowledge, runs_on) {
            // The machine was powered off meanwhile: the older record can no longer be merged with
            // the newer one.
            record.tracked.retain(|tracked| tracked != since && *tracked != snapshot.change);
            return Ok(());
        }
        // The newer change id stays valid, or the older one if the changes were not acknowledged.
        let forgotten = match (&snapshot.since, acknowledge) {
            (Some(since), Acknowledge::Advance) => since.clone(),
            (_, Acknowledge::Keep) => snapshot.change.clone(),
            (None, Acknowledge::Advance) => return Ok(()),
        };
        record.tracked.retain(|tracked| *tracked != forgotten);
        for volume in volumes_of(state, machine) {
            match (&snapshot.since, acknowledge) {
                (Some(since), Acknowledge::Keep) => state.store.rejoin(&volume, since, &snapshot.change),
                _ => state.store.forget(&volume, &forgotten),
            }
        }
        Ok(())
    }

    pub(crate) fn forget_changes(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.with(|state| {
            let Some(record) = state.machines.get_mut(id) else { return Ok(()) };
            record.tracked.clear();
            for volume in volumes_of(state, id) {
                state.store.forget_all(&volume);
            }
            Ok(())
        })
    }
}

fn volumes_of(state: &State, machine: &MachineId) -> Vec<VolumeId> {
    state.machines.get(machine).map(|record| inventory::volumes_of(&record.spec)).unwrap_or_default()
}

fn context(change: &ChangeId) -> String {
    format!("sim:changed:{change}")
}
