//! Point-in-time views of all disks of a machine, and what changed between two of them. The rules are those of the
//! real stand-ins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::{
    Acknowledge, Bytes, ChangeId, ChangesUnavailable, Consistency, DiskSnapshot, MachineId, PlatformError,
    PlatformErrorKind as Kind, SnapshotDisk, SnapshotId, SnapshotRequest, VolumeId,
};
use nbd::Served;

use crate::clock::moment;
use crate::exports::SnapshotExport;
use crate::state::{SnapshotRecord, State};
use crate::{SimSite, TrackingPersistence};

/// One disk on its way into a view, and what changed on it if that can be told.
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
        let view = self.with(|state| self.freeze(state, machine, since, now))?;
        let told = view.disks.iter().filter(|disk| disk.changed.is_some()).count();
        self.note(&machine.0, format!("{} taken, {told} disks tell changes", view.change_id));
        Ok(view)
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
                if request.consistency == Consistency::App && !state.can_rest(machine, now) {
                    let text = format!("the applications in {machine} cannot be brought to rest");
                    return Err(self.refuse(Kind::NotQuiesced, text));
                }
            }
            if request.consistency == Consistency::App {
                request.machines.iter().for_each(|(machine, _)| state.quiesce(machine, now));
            }
            self.freeze_each(state, request, now)
        })
    }

    /// All of them or none.
    fn freeze_each(
        &self,
        state: &mut State,
        request: &SnapshotRequest,
        now: u64,
    ) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let mut views: Vec<DiskSnapshot> = Vec::new();
        for (machine, since) in &request.machines {
            match self.freeze(state, machine, since.as_ref(), now) {
                Ok(view) => views.push(view),
                Err(error) => {
                    for view in &views {
                        self.end_snapshot(state, &view.id, Acknowledge::Keep)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(views)
    }

    fn freeze(
        &self,
        state: &mut State,
        machine: &MachineId,
        since: Option<&ChangeId>,
        now: u64,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.components().view(machine).map_err(self.denied())?;
        state.catch_up(machine, now);
        let left = state.views.iter().find(|(_, view)| view.machine == *machine).map(|(id, _)| id.clone());
        if let Some(open) = left {
            self.end_snapshot(state, &open, Acknowledge::Keep)?;
        }
        let record = state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
        record.snapshots_taken += 1;
        let live = record.running.is_some();
        let asked = since.is_some();
        let since = since.filter(|id| record.tracked.contains(id)).cloned();
        let change = ChangeId(format!("change-{machine}-{}", state.next(machine)));
        let bytes = Arc::default();
        let frozen = self.freeze_disks(state, machine, since.as_ref(), &bytes)?;
        if live && state.tracking != TrackingPersistence::Never {
            self.track(state, machine, &change, since.as_ref());
        }
        let id = SnapshotId(format!("view-{machine}-{}", state.next(machine)));
        let (disks, served): (Vec<_>, _) = frozen.into_iter().map(|disk| self.serve(machine, disk)).unzip();
        let record =
            SnapshotRecord { machine: machine.clone(), change: change.clone(), since, live, served, bytes };
        state.views.insert(id.clone(), record);
        if let Some(record) = state.machines.get_mut(machine).filter(|_| live) {
            record.live_snapshot = Some(id.clone());
        }
        let changes_unavailable = asked && disks.iter().any(|disk: &SnapshotDisk| disk.changed.is_none());
        let changes_unavailable = changes_unavailable.then_some(ChangesUnavailable::RecordLost);
        Ok(DiskSnapshot { id, taken_at: moment(now), change_id: change, disks, changes_unavailable })
    }

    fn serve(&self, machine: &MachineId, disk: Frozen) -> (SnapshotDisk, Served) {
        let name = format!("{}-{machine}-{}", self.config().id, disk.shown.id);
        let served = nbd::serve(&name, Arc::new(disk.export));
        (SnapshotDisk { uri: served.uri(), ..disk.shown }, served)
    }

    fn freeze_disks(
        &self,
        state: &State,
        machine: &MachineId,
        since: Option<&ChangeId>,
        bytes: &Arc<AtomicU64>,
    ) -> Result<Vec<Frozen>, PlatformError> {
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        let freeze = |(id, volume): &(_, VolumeId)| {
            let content = state
                .store
                .snapshot(volume)
                .map_err(|broken| self.refuse(Kind::Failed, format!("freeze the disks: {broken}")))?;
            let changed = since.and_then(|since| Some((context(since), state.store.changed(volume, since)?)));
            let shown = SnapshotDisk {
                id: contract::DiskId::clone(id),
                size: Bytes(content.size()),
                uri: String::new(),
                changed: changed.as_ref().map(|(context, _)| context.clone()),
            };
            let (faults, bytes) = (Arc::clone(self.faults()), Arc::clone(bytes));
            Ok(Frozen { export: SnapshotExport::new(content, changed, faults, bytes), shown })
        };
        record.spec.disks.iter().map(freeze).collect()
    }

    /// Tracks changes since this moment; what was tracked since the older one is frozen for reading.
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
            state.views.get(id).map(|view| (view.machine.clone(), view.bytes.load(Ordering::Relaxed)))
        });
        let Some((machine, read)) = read else { return Ok(()) };
        self.clock().sleep(self.faults().link().takes(read)).await;
        let now = self.clock().micros();
        self.note(&machine.0, format!("{id} closed, acknowledge: {acknowledge:?}, {read} bytes"));
        self.with(|state| {
            state.catch_up(&machine, now);
            self.end_snapshot(state, id, acknowledge)
        })
    }

    fn end_snapshot(
        &self,
        state: &mut State,
        id: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        let Some(mut view) = state.views.remove(id) else { return Ok(()) };
        state.to_close.append(&mut view.served);
        let machine = &view.machine;
        let record = state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
        let runs_on = record.live_snapshot.as_ref() == Some(id);
        if runs_on {
            record.live_snapshot = None;
        }
        if !view.live {
            return Ok(());
        }
        if let (Some(since), Acknowledge::Keep, false) = (&view.since, acknowledge, runs_on) {
            // The machine went off meanwhile: the older moment's record can no longer be joined with the newer one's.
            record.tracked.retain(|tracked| tracked != since && *tracked != view.change);
            return Ok(());
        }
        // What stays tracked: the newer moment, or the older one if nobody took the changes.
        let forgotten = match (&view.since, acknowledge) {
            (Some(since), Acknowledge::Advance) => since.clone(),
            (_, Acknowledge::Keep) => view.change.clone(),
            (None, Acknowledge::Advance) => return Ok(()),
        };
        record.tracked.retain(|tracked| *tracked != forgotten);
        for volume in volumes_of(state, machine) {
            match (&view.since, acknowledge) {
                (Some(since), Acknowledge::Keep) => state.store.rejoin(&volume, since, &view.change),
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
    let record = state.machines.get(machine);
    record
        .map(|record| record.spec.disks.iter().map(|(_, volume)| volume.clone()).collect())
        .unwrap_or_default()
}

fn context(change: &ChangeId) -> String {
    format!("sim:changed:{change}")
}
