//! A core's process, which can die between any two of its calls.
//!
//! A core is given the platforms of its process instead of the sites themselves. Once the process is dead, none of
//! its calls returns any more: what is left of the core is stuck wherever it next needs a platform, and a new core
//! may be opened on the same directory. What was asked for before goes on, and what the dead core had open stays
//! open, as with a real one.

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

/// A process in which a core runs.
#[derive(Debug)]
pub struct SimProcess {
    dead: watch::Sender<bool>,
    life: Mutex<Life>,
}

#[derive(Debug, Default)]
struct Life {
    /// Calls made so far, over all sites.
    calls: u64,
    ends: Option<Ends>,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    nth: u64,
    takes_effect: bool,
}

impl SimProcess {
    /// A process that lives until it is told otherwise.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { dead: watch::Sender::new(false), life: Mutex::default() })
    }

    /// A site, for a core in this process.
    pub fn platform(self: &Arc<Self>, site: &Arc<SimSite>) -> Arc<dyn Platform> {
        Arc::new(Line { process: Arc::clone(self), site: Arc::clone(site) })
    }

    /// Calls made so far, over all sites.
    pub fn calls(&self) -> u64 {
        self.life().calls
    }

    /// Dies at its `nth` call, counted from 1: before that takes effect, or after it and before its answer.
    pub fn die_at(&self, nth: u64, takes_effect: bool) {
        self.life().ends = Some(Ends { nth, takes_effect });
    }

    /// Dies now.
    pub fn kill(&self) {
        self.dead.send_replace(true);
    }

    /// Waits until it is dead and nothing of it moves any more; only then may another core take its place.
    pub async fn died(&self) {
        // The sender lives as long as `self`.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
        // Time passes only once all blocking work has ended.
        tokio::time::sleep(Millis(1).into()).await;
    }

    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call. Returns whether the process dies at it, and then whether it takes effect.
    fn count(&self) -> Option<bool> {
        let mut life = self.life();
        life.calls += 1;
        life.ends.filter(|ends| ends.nth == life.calls).map(|ends| ends.takes_effect)
    }

    async fn call<T>(&self, work: impl Future<Output = T>) -> T {
        self.unless_dead().await;
        let ends = self.count();
        if ends == Some(false) {
            self.kill();
        }
        self.unless_dead().await;
        let answer = work.await;
        if ends.is_some() {
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

/// One site as one process sees it.
struct Line {
    process: Arc<SimProcess>,
    site: Arc<SimSite>,
}

#[async_trait]
impl Platform for Line {
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

    async fn close_snapshot(&self, view: &SnapshotId, acknowledge: Acknowledge) -> Result<(), PlatformError> {
        self.process.call(self.site.close_snapshot(view, acknowledge)).await
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
