//! A simulated site.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, DiskSnapshot, Export, ExportId, MachineId,
    MachineSpec, MachineView, Millis, Platform, PlatformError, PlatformErrorKind as Kind, SiteView,
    SnapshotId, SnapshotRequest, VolumeId, VolumeView,
};
use nbd::{DiskServer, Served};
use tokio::sync::watch;

use crate::capture::{Capture, Capturing};
use crate::disk::BOOT_PARTITION;
use crate::faults::Faults;
use crate::state::State;
use crate::store::Store;
use crate::trace::Trace;
use crate::{Call, Event, Link, SimClock, SimConfig, SimFault, SimProfile, Snapshot};
use inventory::Infrastructure;

/// A site in memory, opened by [`SimWorld::site`](crate::SimWorld::site).
pub struct SimSite {
    me: Weak<Self>,
    config: SimConfig,
    /// Number of the site in its simulation, from 1.
    ordinal: u32,
    seed: u64,
    clock: SimClock,
    state: Mutex<State>,
    components: Infrastructure,
    faults: Arc<Faults>,
    trace: Trace,
    /// Counts boots of all machines, to wake tasks that wait for a boot.
    booted: watch::Sender<u64>,
    /// Counts closed exports, to wake a merge that waits for them.
    closed: watch::Sender<u64>,
    /// Bytes written through exports.
    written: AtomicU64,
    /// Bytes read from volumes through exports.
    read: AtomicU64,
    /// Locked during a merge, so that no volume of the chain is opened meanwhile.
    merging: tokio::sync::Mutex<()>,
    /// Serves the disks, if clients in other processes read them.
    disk_server: Option<Arc<DiskServer>>,
    /// By how much its own clock is ahead, in milliseconds.
    pub(crate) ahead: AtomicI64,
}

impl SimSite {
    pub(crate) fn open(
        config: SimConfig,
        ordinal: u32,
        seed: u64,
        clock: SimClock,
        disk_server: Option<Arc<DiskServer>>,
    ) -> Arc<Self> {
        let state = State::new(config.profile.tracking, Store::new(config.storage));
        let components = Infrastructure::of(&config.id.0, config.profile.kind);
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            components,
            ordinal,
            seed,
            clock,
            state: Mutex::new(state),
            faults: Arc::new(Faults::new(config.link)),
            trace: Trace::default(),
            booted: watch::Sender::new(0),
            closed: watch::Sender::new(0),
            written: AtomicU64::new(0),
            read: AtomicU64::new(0),
            merging: tokio::sync::Mutex::new(()),
            disk_server,
            ahead: AtomicI64::new(0),
            config,
        })
    }

    /// Name in reports.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.config.profile.label
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &SimProfile {
        &self.config.profile
    }

    /// The seed that reproduces this site.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The clock of its simulation.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Its components, which can be inspected, broken and repaired.
    #[must_use]
    pub fn components(&self) -> &Infrastructure {
        &self.components
    }

    /// Replaces the link out of the site.
    pub fn set_link(&self, link: Link) {
        self.faults.set_link(link);
    }

    /// Replaces what snapshots of running machines hold. `may_lack` is asked each time that one is
    /// about to lack writes.
    pub fn set_capture(&self, capture: Capture, may_lack: Arc<dyn Fn() -> bool + Send + Sync>) {
        self.with(|state| state.capturing = Capturing { capture, may_lack: Some(may_lack) });
    }

    /// Number of calls of a method so far, including refused ones.
    pub fn calls(&self, call: Call) -> u64 {
        self.faults.calls(call)
    }

    /// Snapshots taken of a machine since its last boot, by any caller: a cost of replication,
    /// counted below the core.
    pub fn snapshots_taken(&self, machine: &MachineId) -> u64 {
        self.with(|state| state.machines.get(machine).map_or(0, |record| record.snapshots_taken))
    }

    /// Bytes of content written through exports so far, without zeroing: the data received here,
    /// counted below the core.
    pub fn written(&self) -> Bytes {
        Bytes(self.written.load(Ordering::Relaxed))
    }

    /// Bytes read from volumes through exports so far: what was compared or read back here, counted
    /// below the core. Reads of snapshots are not among them.
    pub fn read(&self) -> Bytes {
        Bytes(self.read.load(Ordering::Relaxed))
    }

    pub(crate) fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The specification of a machine, which includes its network.
    pub fn spec(&self, machine: &MachineId) -> Option<MachineSpec> {
        self.with(|state| state.machines.get(machine).map(|record| record.spec.clone()))
    }

    /// The current content of a volume; `None` if it or a volume below it is gone.
    pub fn snapshot(&self, volume: &VolumeId) -> Option<Snapshot> {
        let now = self.clock.micros();
        self.with(|state| {
            state.catch_up_on(volume, now);
            state.store.snapshot(volume).ok()
        })
    }

    /// Names of all volumes.
    pub fn volumes(&self) -> Vec<VolumeId> {
        self.with(|state| state.store.ids().cloned().collect())
    }

    /// Bytes allocated for all volumes; content shared by several counts for each.
    pub fn stored(&self) -> Bytes {
        self.with(|state| Bytes(state.store.ids().map(|id| state.store.allocated(id)).sum()))
    }

    /// Number of open snapshots and exports, which a stopped core must not leave behind.
    pub fn left_open(&self) -> usize {
        self.with(|state| state.snapshots.len() + state.exports.len())
    }

    /// The boot partition of a machine's first disk, in bytes.
    #[must_use]
    pub fn boot_partition() -> Range<u64> {
        BOOT_PARTITION
    }

    /// All events so far, in order.
    pub fn trace(&self) -> Vec<Event> {
        self.trace.all()
    }

    /// A hash that is equal for two runs with the same events and the same final content. It does
    /// not depend on how calls for different machines interleaved within one instant.
    pub fn fingerprint(&self) -> u64 {
        let now = self.clock.micros();
        let mut events = self.trace();
        events.sort();
        let mut hasher = DefaultHasher::new();
        events.hash(&mut hasher);
        self.with(|state| {
            let machines: Vec<_> = state.machines.keys().cloned().collect();
            machines.iter().for_each(|machine| state.catch_up(machine, now));
            for id in state.store.ids() {
                id.hash(&mut hasher);
                let Ok(content) = state.store.snapshot(id) else { continue };
                for extent in content.allocation().iter().filter(|extent| !extent.is_zero()) {
                    (extent.offset, content.bytes(extent.offset, extent.length as usize)).hash(&mut hasher);
                }
            }
        });
        hasher.finish()
    }

    /// Serves a disk to the clients of this site.
    pub(crate) fn serve_disk(&self, name: &str, disk: Arc<dyn nbd::Export>) -> Served {
        match &self.disk_server {
            Some(server) => server.serve(name, disk),
            None => nbd::serve(name, disk),
        }
    }

    pub(crate) fn ordinal(&self) -> u32 {
        self.ordinal
    }

    pub(crate) fn config(&self) -> &SimConfig {
        &self.config
    }

    pub(crate) fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    pub(crate) fn merging(&self) -> &tokio::sync::Mutex<()> {
        &self.merging
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }

    pub(crate) fn boot_drivers(&self) -> Vec<String> {
        self.config.profile.boot_drivers.iter().map(|driver| (*driver).to_owned()).collect()
    }

    pub(crate) fn booted(&self) -> watch::Receiver<u64> {
        self.booted.subscribe()
    }

    pub(crate) fn announce_boot(&self) {
        self.booted.send_modify(|count| *count += 1);
    }

    pub(crate) fn closed(&self) -> watch::Receiver<u64> {
        self.closed.subscribe()
    }

    pub(crate) fn announce_closed(&self) {
        self.closed.send_modify(|count| *count += 1);
    }

    /// Works on the state, and afterwards closes the exports that the work put into `to_close`.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let closing = std::mem::take(&mut state.to_close);
        drop(state);
        drop(closing);
        result
    }

    pub(crate) fn note(&self, subject: &str, what: String) {
        self.trace.add(self.clock.now(), subject, what);
    }

    fn reachable(&self) -> Result<(), PlatformError> {
        if self.faults.is_lost() || self.faults.is_silent() {
            return Err(self.refuse(Kind::Unreachable, "the site does not answer"));
        }
        Ok(())
    }

    /// Wraps every call: counts it, makes it fail if a fault demands that, and records it in the
    /// trace.
    async fn call<T>(
        &self,
        call: Call,
        subject: &str,
        work: impl Future<Output = Result<T, PlatformError>>,
    ) -> Result<T, PlatformError> {
        let failing = self.faults.count(call);
        if self.faults.strikes_at(call) {
            self.inject(&SimFault::SiteLost);
        }
        let failure = failing.map(|failing| {
            let text = format!("{call:?} number {}: injected failure", failing.number);
            (self.refuse(failing.fault.kind, text), failing.fault.takes_effect)
        });
        let result = match (self.reachable(), failure) {
            (Err(lost), _) => Err(lost),
            (Ok(()), Some((error, false))) => Err(error),
            (Ok(()), failure) => {
                let done = work.await;
                self.faults.cut_after(call);
                // The site may have been lost during the call.
                done.and_then(|done| self.reachable().map(|()| done))
                    .and_then(|done| failure.map_or(Ok(done), |(error, _)| Err(error)))
            }
        };
        let outcome = result.as_ref().err().map_or("done".to_owned(), |error| format!("{:?}", error.kind));
        self.note(subject, format!("{call:?}: {outcome}"));
        result
    }
}

impl fmt::Debug for SimSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSite")
            .field("id", &self.config.id.0)
            .field("label", &self.label())
            .field("seed", &self.seed)
            .field("now", &self.clock.now())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Platform for SimSite {
    async fn site(&self) -> Result<SiteView, PlatformError> {
        let id = &self.config.id;
        let view =
            SiteView { id: id.clone(), kind: self.config.profile.kind, boot_drivers: self.boot_drivers() };
        self.call(Call::Site, &id.0, async { Ok(view) }).await
    }

    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError> {
        let work = async { Ok(self.components.all()) };
        self.call(Call::Infrastructure, &self.config.id.0, work).await
    }

    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        let work = async { self.components.connect_agent(machine, process_server).map_err(self.denied()) };
        self.call(Call::ConnectAgent, &machine.0, work).await
    }

    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError> {
        self.call(Call::AttachToMasterTarget, &machine.0, async {
            self.attach_disks(machine, Some(master_target))
        })
        .await
    }

    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.call(Call::DetachFromMasterTarget, &machine.0, async { self.attach_disks(machine, None) }).await
    }

    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.call(Call::MergeSnapshots, &machine.0, self.merge_machine_snapshots(machine)).await
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        let work = async {
            self.components.check_manager().map_err(self.denied())?;
            let now = self.clock.micros();
            self.with(|state| {
                state.finish_shutdowns(now);
                let record = state.machines.get(id).ok_or_else(|| self.unknown("machine", id))?;
                self.show_machine(state, record)
            })
        };
        self.call(Call::Machine, &id.0, work).await
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        let work = async {
            self.components.check_manager().map_err(self.denied())?;
            let now = self.clock.micros();
            self.with(|state| {
                state.finish_shutdowns(now);
                state.machines.values().map(|record| self.show_machine(state, record)).collect()
            })
        };
        self.call(Call::Machines, &self.config.id.0, work).await
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        self.call(Call::CreateMachine, &spec.id.0, async { self.add_machine(spec) }).await
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.call(Call::DeleteMachine, &id.0, async { self.remove_machine(id) }).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.call(Call::Start, &id.0, async { self.boot(id) }).await
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        self.call(Call::ShutDown, &id.0, self.shut_down_in_order(id, within)).await
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.call(Call::PowerOff, &id.0, async { self.cut_power(id) }).await
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.call(Call::OpenSnapshot, &machine.0, self.take_snapshot(machine, since)).await
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let machines = request.machines.iter().map(|(machine, _)| machine.0.as_str()).collect::<Vec<_>>();
        self.call(Call::OpenSnapshots, &machines.join(" "), self.take_snapshots(request)).await
    }

    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        self.call(Call::CloseSnapshot, &snapshot.0, self.drop_snapshot(snapshot, acknowledge)).await
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.call(Call::StopTracking, &machine.0, async { self.forget_changes(machine) }).await
    }

    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.call(Call::Volume, &id.0, async { self.show_volume(id) }).await
    }

    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.call(Call::CreateVolume, &id.0, async { self.add_volume(id, size.0, datastore) }).await
    }

    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.call(Call::DeriveVolume, &id.0, async { self.add_delta(id, parent) }).await
    }

    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        self.call(Call::MergeVolumes, &top.0, self.merge(top, base)).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        self.call(Call::DeleteVolume, &id.0, async { self.remove_volume(id) }).await
    }

    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        self.call(Call::ExportVolume, &id.0, self.open_export(id, access)).await
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        let work = async {
            self.shut_export(id);
            Ok(())
        };
        // Exports are numbered over all machines, so their ids would differ between runs.
        let volume = self.with(|state| state.exports.get(id).map(|export| export.volume.0.clone()));
        self.call(Call::CloseExport, volume.as_deref().unwrap_or("closed export"), work).await
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        let work = async {
            let (snapshots, exports) = self.with(|state| {
                let snapshots: Vec<_> = state.snapshots.keys().cloned().collect();
                let exports: Vec<_> = state.exports.keys().cloned().collect();
                (snapshots, exports)
            });
            for snapshot in snapshots {
                self.drop_snapshot(&snapshot, Acknowledge::Keep).await?;
            }
            exports.iter().for_each(|export| self.shut_export(export));
            Ok(())
        };
        self.call(Call::CloseAll, "all", work).await
    }
}
