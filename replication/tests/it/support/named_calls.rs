//! Records a name for each call of a process, so that a failure can name the call at which the
//! process died.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, DiskSnapshot, Export, ExportId, MachineId,
    MachineSpec, MachineView, Millis, Platform, PlatformError, SiteView, SnapshotId, SnapshotRequest,
    VolumeId, VolumeView,
};
use simulator::{SimProcess, SimSite};

/// The names of calls, by number.
pub type CallNames = Arc<Mutex<BTreeMap<u64, String>>>;

/// A site as a process sees it, which records the name of each call before it makes it.
pub struct NamedCalls {
    site: &'static str,
    process: Arc<SimProcess>,
    platform: Arc<dyn Platform>,
    names: CallNames,
}

impl NamedCalls {
    pub fn around(
        site: &'static str,
        process: &Arc<SimProcess>,
        platform: &Arc<SimSite>,
        names: &CallNames,
    ) -> Arc<dyn Platform> {
        let (names, platform) = (Arc::clone(names), process.platform(platform));
        Arc::new(Self { site, process: Arc::clone(process), platform, names })
    }

    /// A dead process counts no further calls, so that a later call does not replace the name of
    /// the last one.
    fn record(&self, what: &str, subject: &str) -> &dyn Platform {
        let name = format!("{what}({subject}) at {}", self.site);
        self.names.lock().unwrap().entry(self.process.calls() + 1).or_insert(name);
        &*self.platform
    }
}

#[async_trait]
impl Platform for NamedCalls {
    async fn site(&self) -> Result<SiteView, PlatformError> {
        self.record("site", "").site().await
    }

    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError> {
        self.record("infrastructure", "").infrastructure().await
    }

    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        self.record("connect_agent", &machine.0).connect_agent(machine, process_server).await
    }

    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError> {
        self.record("attach_to_master_target", &machine.0)
            .attach_to_master_target(machine, master_target)
            .await
    }

    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.record("detach_from_master_target", &machine.0).detach_from_master_target(machine).await
    }

    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.record("merge_snapshots", &machine.0).merge_snapshots(machine).await
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        self.record("machine", &id.0).machine(id).await
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        self.record("machines", "").machines().await
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        self.record("create_machine", &spec.id.0).create_machine(spec).await
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.record("delete_machine", &id.0).delete_machine(id).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.record("start", &id.0).start(id).await
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        self.record("shut_down", &id.0).shut_down(id, within).await
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.record("power_off", &id.0).power_off(id).await
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.record("open_snapshot", &machine.0).open_snapshot(machine, since).await
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let machines = request.machines.iter().map(|(machine, _)| machine.0.as_str()).collect::<Vec<_>>();
        self.record("open_snapshots", &machines.join(" ")).open_snapshots(request).await
    }

    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        self.record("close_snapshot", &snapshot.0).close_snapshot(snapshot, acknowledge).await
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.record("stop_tracking", &machine.0).stop_tracking(machine).await
    }

    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.record("volume", &id.0).volume(id).await
    }

    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.record("create_volume", &id.0).create_volume(id, size, datastore).await
    }

    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.record("derive_volume", &id.0).derive_volume(id, parent).await
    }

    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        self.record("merge_volumes", &top.0).merge_volumes(top, base).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        self.record("delete_volume", &id.0).delete_volume(id).await
    }

    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        self.record("export_volume", &id.0).export_volume(id, access).await
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        self.record("close_export", &id.0).close_export(id).await
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        self.record("close_all", "all").close_all().await
    }
}
