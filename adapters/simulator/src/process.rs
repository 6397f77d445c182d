//! The process of a core, which can crash between any two of its calls.
//!
//! A core receives the platforms of its process instead of the sites themselves. After the process
//! has crashed, none of its calls returns: the rest of the core is stuck where it next needs a
//! platform, and a new core may be opened on the same directory. Calls in progress are completed,
//! and everything that the crashed core had open stays open, as with a real process.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, DiskSnapshot, Export, ExportId, MachineId,
    MachineSpec, MachineView, Millis, Platform, PlatformError, SiteView, SnapshotId, SnapshotRequest,
    VolumeId, VolumeView,
};
use tokio::sync::watch;

use crate::SimSite;

/// A process that runs a core.
#[derive(Debug)]
pub struct SimProcess {
    dead: watch::Sender<bool>,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// Number of calls so far, at all sites.
    made: u64,
    crash: Option<Crash>,
}

/// A crash at a call.
#[derive(Clone, Copy, Debug)]
struct Crash {
    nth: u64,
    takes_effect: bool,
}

impl SimProcess {
    /// A process that runs until it is killed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { dead: watch::Sender::new(false), calls: Mutex::default() })
    }

    /// A site as the platform of a core in this process.
    pub fn platform(self: &Arc<Self>, site: &Arc<SimSite>) -> Arc<dyn Platform> {
        Arc::new(ProcessPlatform { process: Arc::clone(self), site: Arc::clone(site) })
    }

    /// Number of calls so far, at all sites.
    pub fn calls(&self) -> u64 {
        self.count_of_calls().made
    }

    /// Crashes at its `nth` call, from 1: before the call takes effect, or after it and before its
    /// answer.
    pub fn die_at(&self, nth: u64, takes_effect: bool) {
        self.count_of_calls().crash = Some(Crash { nth, takes_effect });
    }

    /// Crashes now.
    pub fn kill(&self) {
        self.dead.send_replace(true);
    }

    /// Waits until it has crashed and all its work has ended; only then may another core replace
    /// it.
    pub async fn died(&self) {
        // The sender lives as long as `self`.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
        // Time advances only once all blocking work has ended.
        tokio::time::sleep(Millis(1).into()).await;
    }

    fn count_of_calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call. Returns whether the process crashes at it, and then whether the call takes
    /// effect.
    fn count(&self) -> Option<bool> {
        let mut calls = self.count_of_calls();
        calls.made += 1;
        calls.crash.filter(|crash| crash.nth == calls.made).map(|crash| crash.takes_effect)
    }

    async fn call<T>(&self, work: impl Future<Output = T>) -> T {
        self.unless_dead().await;
        let crash = self.count();
        if crash == Some(false) {
            self.kill();
        }
        self.unless_dead().await;
        let answer = work.await;
        if crash.is_some() {
            self.kill();
        }
        self.unless_dead().await;
        answer
    }

    async fn unless_dead(&self) {
        if *self.dead.borrow() {
            pending().await
        }
    }
}

/// A site as seen by a process.
struct ProcessPlatform {
    process: Arc<SimProcess>,
    site: Arc<SimSite>,
}

#[async_trait]
impl Platform for ProcessPlatform {
    async fn site(&self) -> Result<SiteView, PlatformError> {
        self.process.call(self.site.site()).await
    }

    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError> {
        self.process.call(self.site.infrastructure()).await
    }

    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        self.process.call(self.site.connect_agent(machine, process_server)).await
    }

    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError> {
        self.process.call(self.site.attach_to_master_target(machine, master_target)).await
    }

    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.process.call(self.site.detach_from_master_target(machine)).await
    }

    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.process.call(self.site.merge_snapshots(machine)).await
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        self.process.call(self.site.machine(id)).await
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        self.process.call(self.site.machines()).await
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        self.process.call(self.site.create_machine(spec)).await
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.process.call(self.site.delete_machine(id)).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.process.call(self.site.start(id)).await
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        self.process.call(self.site.shut_down(id, within)).await
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.process.call(self.site.power_off(id)).await
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.process.call(self.site.open_snapshot(machine, since)).await
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        self.process.call(self.site.open_snapshots(request)).await
    }

    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        self.process.call(self.site.close_snapshot(snapshot, acknowledge)).await
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.process.call(self.site.stop_tracking(machine)).await
    }

    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.process.call(self.site.volume(id)).await
    }

    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.process.call(self.site.create_volume(id, size, datastore)).await
    }

    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.process.call(self.site.derive_volume(id, parent)).await
    }

    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        self.process.call(self.site.merge_volumes(top, base)).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        self.process.call(self.site.delete_volume(id)).await
    }

    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        self.process.call(self.site.export_volume(id, access)).await
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        self.process.call(self.site.close_export(id)).await
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        self.process.call(self.site.close_all()).await
    }
}
