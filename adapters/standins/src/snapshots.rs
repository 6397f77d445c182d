//! Snapshots of all disks of a machine, and the changes between two of them.
//!
//! Of a running machine: one QEMU transaction adds a dirty bitmap, disables the previous one and
//! starts a copy-before-write for each disk, all at one moment; an NBD server inside QEMU then
//! serves the frozen content with the previous bitmap. Of a machine that is off: its images are
//! exported; only qcow2 keeps bitmaps over a shutdown, so with other formats there is no change
//! information.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::Utf8PathBuf;
use contract::{
    Acknowledge, Bytes, ChangeId, ChangesUnavailable, DiskId, DiskSnapshot, MachineId, PlatformError,
    SnapshotDisk, SnapshotId, Timestamp,
};
use harness::relay::Upstream;
use harness::storage::{Image, Mode};
use harness::tools::{self, Format};
use serde_json::{Value, json};

use crate::boot::role;
use crate::state::{SnapshotRecord, SnapshotSource, State, VolumeRecord};
use crate::{Boot, StandInSite, TrackingMechanism};

/// Time limit for closing a snapshot.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

/// A disk of a snapshot that is being taken.
struct Frozen {
    id: DiskId,
    volume: VolumeRecord,
    copy: Utf8PathBuf,
}

impl Frozen {
    fn copy_node(&self) -> String {
        format!("frozen-{}", role(&self.id))
    }

    fn job(&self) -> String {
        format!("freeze-{}", role(&self.id))
    }
}

impl StandInSite {
    pub(crate) async fn take_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        let left_open = {
            let state = self.state.lock().await;
            state
                .snapshots
                .iter()
                .find(|(_, snapshot)| snapshot.machine == *machine)
                .map(|(id, _)| id.clone())
        };
        if let Some(left_open) = left_open {
            self.drop_snapshot(&left_open, Acknowledge::Keep).await?;
        }
        if self.config.profile.tracking == TrackingMechanism::Agent {
            return self.request_snapshot(machine, since).await;
        }
        let mut state = self.state.lock().await;
        let record = state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
        record.snapshots_taken += 1;
        let mut known = since.filter(|id| record.tracked.contains(id)).cloned();
        let running = record.running().cloned();
        let disks = self.disks_of(&state, machine)?;
        let mut why = ChangesUnavailable::RecordLost;
        if let (Some(boot), Some(moment)) = (&running, &known) {
            let sizes: Vec<_> =
                disks.iter().map(|disk| (disk.id.clone(), Bytes(disk.volume.bytes))).collect();
            if self.discard_full_log(boot, moment, &sizes).await? {
                let record =
                    state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
                record.tracked.retain(|tracked| tracked != moment);
                (known, why) = (None, ChangesUnavailable::LogFull);
            }
        }
        let change = ChangeId(format!("change-{}", state.next()));
        let mut snapshot = match running {
            Some(boot) => self.freeze(&mut state, machine, &boot, disks, change, known).await?,
            None => self.export_offline(&mut state, machine, disks, change, known).await?,
        };
        state.record_answer_about_changes(machine, since.is_some(), why, &mut snapshot);
        Ok(snapshot)
    }

    fn disks_of(&self, state: &State, machine: &MachineId) -> Result<Vec<Frozen>, PlatformError> {
        let record = state.machines.get(machine).ok_or_else(|| self.unknown("machine", machine))?;
        let disks = record.spec.disks.iter().map(|(id, volume)| {
            let volume = state.volumes.get(volume).ok_or_else(|| self.unknown("volume", volume))?.clone();
            let copy = self.config.scratch.path().join(format!("{}-{machine}-{id}.frozen", self.config.id));
            Ok(Frozen { id: id.clone(), volume, copy })
        });
        disks.collect()
    }

    async fn freeze(
        &self,
        state: &mut State,
        machine: &MachineId,
        boot: &Boot,
        disks: Vec<Frozen>,
        change: ChangeId,
        since: Option<ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        let monitor = boot.guest.monitor();
        let socket = self.config.scratch.path().join(format!("{}-{machine}.nbd", self.config.id));
        let record = state.machines.get_mut(machine).ok_or_else(|| self.unknown("machine", machine))?;
        if record.serving_boot != Some(boot.number) {
            let address = json!({"type": "unix", "data": {"path": socket}});
            let served =
                monitor.execute("nbd-server-start", json!({"addr": address, "max-connections": 0})).await;
            served.map_err(self.failed("serve disks"))?;
            record.serving_boot = Some(boot.number);
        }
        let frozen = freeze_all(boot, &disks, &change, since.as_ref()).await;
        let taken_at = frozen.map_err(self.failed("freeze the disks"))?;
        record.tracked.push(change.clone());
        let id = SnapshotId(format!("snapshot-{}", state.next()));
        let source = SnapshotSource::Live {
            boot: boot.number,
            disks: disks.iter().map(|d| (d.id.clone(), d.copy.clone())).collect(),
        };
        let record =
            SnapshotRecord { machine: machine.clone(), change: change.clone(), since: since.clone(), source };
        state.snapshots.insert(id.clone(), record);
        let mut snapshot =
            DiskSnapshot { id, taken_at, change_id: change, disks: Vec::new(), changes_unavailable: None };
        for disk in &disks {
            let name = disk.copy_node();
            let exported = monitor.execute("block-export-add", export_of(boot, disk, since.as_ref())).await;
            exported.map_err(self.failed("export a frozen disk"))?;
            snapshot.disks.push(SnapshotDisk {
                id: disk.id.clone(),
                size: Bytes(disk.volume.bytes),
                uri: self.over_link(&name, Upstream::Unix(socket.clone()))?,
                changed: since.as_ref().map(context),
            });
        }
        Ok(snapshot)
    }

    async fn export_offline(
        &self,
        state: &mut State,
        machine: &MachineId,
        disks: Vec<Frozen>,
        change: ChangeId,
        since: Option<ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        let mut snapshot = DiskSnapshot {
            id: SnapshotId(format!("snapshot-{}", state.next())),
            taken_at: now(),
            change_id: change,
            disks: vec![],
            changes_unavailable: None,
        };
        let mut exports = Vec::new();
        for disk in &disks {
            let name = format!("offline-{}", state.next());
            let known = self.kept_bitmap(&disk.volume, since.as_ref()).await?;
            let image = Image { path: &disk.volume.path, format: disk.volume.format };
            let bitmap = known.as_ref().map(|change| change.0.as_str());
            let exported = self.storage.export(&name, image, Mode::Read, bitmap).await;
            exported.map_err(self.failed("export a disk of a machine that is off"))?;
            let uri = self.over_link(&name, Upstream::Unix(self.storage.socket().to_owned()))?;
            exports.push(name);
            snapshot.disks.push(SnapshotDisk {
                id: disk.id.clone(),
                size: Bytes(disk.volume.bytes),
                uri,
                changed: known.as_ref().map(context),
            });
        }
        let record = SnapshotRecord {
            machine: machine.clone(),
            change: snapshot.change_id.clone(),
            since,
            source: SnapshotSource::Offline { exports },
        };
        state.snapshots.insert(snapshot.id.clone(), record);
        Ok(snapshot)
    }

    /// The bitmap with the changes since `since`, if it survived the shutdown.
    async fn kept_bitmap(
        &self,
        volume: &VolumeRecord,
        since: Option<&ChangeId>,
    ) -> Result<Option<ChangeId>, PlatformError> {
        let Some(since) = since.filter(|_| volume.format == Format::Qcow2) else { return Ok(None) };
        let kept = self.storage.bitmaps(&volume.path).await.map_err(self.failed("look for kept bitmaps"))?;
        Ok(kept.contains(&since.0).then(|| since.clone()))
    }

    pub(crate) async fn drop_snapshot(
        &self,
        id: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        let mut state = self.state.lock().await;
        let Some(snapshot) = state.snapshots.remove(id) else { return Ok(()) };
        self.closed.send_modify(|count| *count += 1);
        let machine = state.machines.get_mut(&snapshot.machine);
        let machine = machine.ok_or_else(|| self.unknown("machine", &snapshot.machine))?;
        match &snapshot.source {
            SnapshotSource::Agent { boot } => {
                // Without the site's lock, so that a fault can be injected meanwhile.
                drop(state);
                self.report_snapshot_closed(&snapshot.machine, *boot, &snapshot.change, acknowledge).await?;
            }
            SnapshotSource::Offline { exports } => {
                for export in exports {
                    self.storage.close_export(export).await.map_err(self.failed("close a snapshot"))?;
                }
            }
            SnapshotSource::Live { boot, disks } => {
                let running = machine.running().filter(|running| running.number == *boot).cloned();
                if let Some(running) = &running {
                    let thawed = thaw(running, disks, &snapshot, acknowledge).await;
                    if thawed.is_err() {
                        // The older bitmap stays disabled, so it lacks what was written since then.
                        machine.tracked.retain(|tracked| Some(tracked) != snapshot.since.as_ref());
                    }
                    thawed.map_err(self.failed("close a snapshot"))?;
                } else if acknowledge == Acknowledge::Keep {
                    // The older bitmap was disabled and can no longer be merged with the newer one.
                    machine.tracked.retain(|tracked| Some(tracked) != snapshot.since.as_ref());
                }
                // The newer change id stays valid, or the older one if the changes were not
                // acknowledged.
                let forgotten = match (&snapshot.since, acknowledge) {
                    (Some(since), Acknowledge::Advance) => since,
                    (_, Acknowledge::Keep) => &snapshot.change,
                    (None, Acknowledge::Advance) => return Ok(()),
                };
                machine.tracked.retain(|tracked| tracked != forgotten);
            }
        }
        Ok(())
    }

    /// Closes the snapshots that were taken of a machine while it was off, because its images
    /// belong to QEMU once it runs. Their readers get an error.
    pub(crate) async fn close_offline_snapshots(
        &self,
        state: &mut State,
        machine: &MachineId,
    ) -> Result<(), PlatformError> {
        let offline = |(id, snapshot): (&SnapshotId, &SnapshotRecord)| match &snapshot.source {
            SnapshotSource::Offline { exports } if snapshot.machine == *machine => {
                Some((id.clone(), exports.clone()))
            }
            _ => None,
        };
        let open: Vec<_> = state.snapshots.iter().filter_map(offline).collect();
        for (snapshot, exports) in open {
            for export in exports {
                self.storage.close_export(&export).await.map_err(self.failed("close a snapshot"))?;
            }
            state.snapshots.remove(&snapshot);
            self.closed.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    pub(crate) async fn forget_changes(&self, id: &MachineId) -> Result<(), PlatformError> {
        if self.config.profile.tracking == TrackingMechanism::Agent {
            return self.ask_to_forget(id).await;
        }
        let mut state = self.state.lock().await;
        let Some(machine) = state.machines.get_mut(id) else { return Ok(()) };
        let tracked = std::mem::take(&mut machine.tracked);
        let Some(boot) = machine.running().cloned() else { return Ok(()) };
        for change in tracked {
            for disk in &boot.disks {
                let arguments = json!({"node": boot.format_node(&disk.id), "name": change});
                boot.guest
                    .monitor()
                    .execute("block-dirty-bitmap-remove", arguments)
                    .await
                    .map_err(self.failed("stop tracking"))?;
            }
        }
        Ok(())
    }
}

/// Freezes all disks at one moment and returns that moment.
async fn freeze_all(
    boot: &Boot,
    disks: &[Frozen],
    change: &ChangeId,
    since: Option<&ChangeId>,
) -> harness::Result<Timestamp> {
    let monitor = boot.guest.monitor();
    let mut actions: Vec<Value> = Vec::new();
    for disk in disks {
        let node = boot.format_node(&disk.id);
        // A copy left by an interrupted snapshot is not needed.
        let _ = std::fs::remove_file(&disk.copy);
        tools::create(&disk.copy, Format::Qcow2, disk.volume.bytes).await?;
        let copy = json!({
            "driver": "qcow2", "node-name": disk.copy_node(), "backing": node,
            "file": {"driver": "file", "filename": disk.copy},
        });
        monitor.execute("blockdev-add", copy).await?;
        // Only qcow2 can store a bitmap when QEMU ends.
        let persistent = disk.volume.format == Format::Qcow2;
        let add = json!({"node": node, "name": change, "persistent": persistent});
        actions.push(json!({"type": "block-dirty-bitmap-add", "data": add}));
        if let Some(since) = since {
            let data = json!({"node": node, "name": since});
            actions.push(json!({"type": "block-dirty-bitmap-disable", "data": data}));
        }
        let backup = json!({
            "job-id": disk.job(), "device": node, "target": disk.copy_node(), "sync": "none",
            "auto-dismiss": false,
        });
        actions.push(json!({"type": "blockdev-backup", "data": backup}));
    }
    // Before the disks are frozen, so that everything acknowledged until then is in the snapshot.
    let taken_at = now();
    monitor.execute("transaction", json!({"actions": actions})).await?;
    Ok(taken_at)
}

/// Removes the copies of a snapshot, then one of its two bitmaps.
async fn thaw(
    boot: &Boot,
    disks: &[(DiskId, Utf8PathBuf)],
    snapshot: &SnapshotRecord,
    acknowledge: Acknowledge,
) -> harness::Result<()> {
    let monitor = boot.guest.monitor();
    for (id, copy) in disks {
        let frozen = format!("frozen-{}", role(id));
        let job = format!("freeze-{}", role(id));
        let mut events = monitor.events();
        monitor.execute("block-export-del", json!({"id": frozen, "mode": "hard"})).await?;
        monitor
            .await_event(&mut events, "an export to close", CLOSE_WITHIN, |e| {
                e["event"] == "BLOCK_EXPORT_DELETED" && e["data"]["id"] == frozen.as_str()
            })
            .await?;
        monitor.execute("job-cancel", json!({"id": job})).await?;
        monitor
            .await_event(&mut events, "a copy to end", CLOSE_WITHIN, |e| {
                e["event"] == "JOB_STATUS_CHANGE"
                    && e["data"]["id"] == job.as_str()
                    && e["data"]["status"] == "concluded"
            })
            .await?;
        monitor.execute("job-dismiss", json!({"id": job})).await?;
        monitor.execute("blockdev-del", json!({"node-name": frozen})).await?;
        let _ = std::fs::remove_file(copy);
    }
    let actions: Vec<_> = disks
        .iter()
        .flat_map(|(id, _)| bitmap_actions(boot.format_node(id), snapshot, acknowledge))
        .collect();
    if actions.is_empty() {
        return Ok(());
    }
    monitor.execute("transaction", json!({"actions": actions})).await.map(drop)
}

/// The bitmap actions that close a snapshot on one disk.
fn bitmap_actions(node: &str, snapshot: &SnapshotRecord, acknowledge: Acknowledge) -> Vec<Value> {
    let action = |kind: &str, data: Value| json!({"type": kind, "data": data});
    let bitmap = |name: &ChangeId| json!({"node": node, "name": name});
    match (&snapshot.since, acknowledge) {
        (Some(since), Acknowledge::Advance) => vec![action("block-dirty-bitmap-remove", bitmap(since))],
        (None, Acknowledge::Advance) => vec![],
        (None, Acknowledge::Keep) => vec![action("block-dirty-bitmap-remove", bitmap(&snapshot.change))],
        (Some(since), Acknowledge::Keep) => vec![
            action("block-dirty-bitmap-enable", bitmap(since)),
            action(
                "block-dirty-bitmap-merge",
                json!({"node": node, "target": since, "bitmaps": [snapshot.change]}),
            ),
            action("block-dirty-bitmap-remove", bitmap(&snapshot.change)),
        ],
    }
}

fn export_of(boot: &Boot, disk: &Frozen, since: Option<&ChangeId>) -> Value {
    let name = disk.copy_node();
    let mut export = json!({"type": "nbd", "id": name, "node-name": name, "name": name, "writable": false});
    if let Some(since) = since {
        export["bitmaps"] = json!([{"node": boot.format_node(&disk.id), "name": since}]);
    }
    export
}

fn context(change: &ChangeId) -> String {
    format!("qemu:dirty-bitmap:{change}")
}

pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
