//! Takes note of what each call of a process is named, so that a failure can tell at which one it died.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, DiskSnapshot, Export, ExportId, MachineId,
    MachineSpec, MachineView, Millis, Platform, PlatformError, SiteView, SnapshotId, SnapshotRequest,
    VolumeId, VolumeView,
};
use simulator::{SimProcess, SimSite};

/// Names of calls by their number.
pub type Names = Arc<Mutex<BTreeMap<u64, String>>>;

/// A site as a process sees it.
pub struct Noted {
    site: &'static str,
    process: Arc<SimProcess>,
    platform: Arc<dyn Platform>,
    names: Names,
}

impl Noted {
    pub fn around(
        site: &'static str,
        process: &Arc<SimProcess>,
        platform: &Arc<SimSite>,
        names: &Names,
    ) -> Arc<dyn Platform> {
        let (names, platform) = (Arc::clone(names), process.platform(platform));
        Arc::new(Self { site, process: Arc::clone(process), platform, names })
    }

    /// A process that is dead does not count on; its next call keeps no name but the first's.
    fn note(&self, what: &str, subject: &str) -> &dyn Platform {
        let name = format!("{what}({subject}) at {}", self.site);
        self.names.lock().unwrap().entry(self.process.calls() + 1).or_insert(name);
        &*self.platform
    }
}

#[async_trait]
impl Platform for Noted {
    async fn site(&self) -> Result<SiteView, PlatformError> {
        self.note("site", "").site().await
    }

    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError> {
        self.note("infrastructure", "").infrastructure().await
    }

    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        self.note("connect_agent", &machine.0).connect_agent(machine, process_server).await
    }

    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError> {
        self.note("attach_to_master_target", &machine.0).attach_to_master_target(machine, master_target).await
    }

    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.note("detach_from_master_target", &machine.0).detach_from_master_target(machine).await
    }

    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.note("merge_snapshots", &machine.0).merge_snapshots(machine).await
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        self.note("machine", &id.0).machine(id).await
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        self.note("machines", "").machines().await
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        self.note("create_machine", &spec.id.0).create_machine(spec).await
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.note("delete_machine", &id.0).delete_machine(id).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.note("start", &id.0).start(id).await
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        self.note("shut_down", &id.0).shut_down(id, within).await
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.note("power_off", &id.0).power_off(id).await
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.note("open_snapshot", &machine.0).open_snapshot(machine, since).await
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let machines = request.machines.iter().map(|(machine, _)| machine.0.as_str()).collect::<Vec<_>>();
        self.note("open_snapshots", &machines.join(" ")).open_snapshots(request).await
    }

    async fn close_snapshot(&self, view: &SnapshotId, acknowledge: Acknowledge) -> Result<(), PlatformError> {
        self.note("close_snapshot", &view.0).close_snapshot(view, acknowledge).await
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.note("stop_tracking", &machine.0).stop_tracking(machine).await
    }

    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.note("volume", &id.0).volume(id).await
    }

    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.note("create_volume", &id.0).create_volume(id, size, datastore).await
    }

    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.note("derive_volume", &id.0).derive_volume(id, parent).await
    }

    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        self.note("merge_volumes", &top.0).merge_volumes(top, base).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        self.note("delete_volume", &id.0).delete_volume(id).await
    }

    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        self.note("export_volume", &id.0).export_volume(id, access).await
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        self.note("close_export", &id.0).close_export(id).await
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        self.note("close_all", "all").close_all().await
    }
}
