//! A platform as a variant drives it: a decorator that changes the calls of the wrapped core.

use std::sync::Arc;

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, DiskSnapshot, Export, ExportId, MachineId,
    MachineSpec, MachineView, Millis, Platform, PlatformError, SiteView, SnapshotId, SnapshotRequest,
    VolumeId, VolumeView,
};

use super::activity::Activity;
use super::difference::Difference;

/// A platform behind the part of a variant that calls it.
pub(super) struct VariantPlatform {
    platform: Arc<dyn Platform>,
    differs: Arc<dyn Difference>,
    activity: Arc<Activity>,
}

impl VariantPlatform {
    pub(super) fn new(
        platform: Arc<dyn Platform>,
        differs: Arc<dyn Difference>,
        activity: Arc<Activity>,
    ) -> Self {
        Self { platform, differs, activity }
    }

    /// Begins a call: takes its time, and does what the variant does before a call.
    async fn begin(&self) {
        self.pause(self.differs.pace().call).await;
        self.activity.note(self.differs.before_call(&*self.platform).await);
    }

    async fn pause(&self, pause: Millis) {
        if pause > Millis(0) {
            self.activity.note(true);
            tokio::time::sleep(pause.into()).await;
        }
    }

    /// The pause after which a failed call is repeated, if it is.
    async fn repeats<T>(&self, answer: &Result<T, PlatformError>) -> bool {
        let Some(pause) = answer.as_ref().err().and_then(|error| self.differs.repeats(error)) else {
            return false;
        };
        self.activity.note(true);
        tokio::time::sleep(pause.into()).await;
        true
    }

    /// The site's name of a volume of the wrapped core.
    fn named(&self, id: &VolumeId) -> VolumeId {
        let name = self.differs.volume_id(id);
        self.activity.note(name != *id);
        name
    }

    fn machine_view(&self, mut view: MachineView) -> MachineView {
        for disk in &mut view.disks {
            disk.volume = self.differs.inner_volume_id(&disk.volume);
        }
        view
    }

    fn volume_view(&self, mut view: VolumeView) -> VolumeView {
        view.id = self.differs.inner_volume_id(&view.id);
        view.parent = view.parent.map(|id| self.differs.inner_volume_id(&id));
        view
    }

    fn snapshot(&self, inner: DiskSnapshot) -> DiskSnapshot {
        let snapshot = self.differs.snapshot(inner.clone());
        self.activity.note(snapshot != inner);
        snapshot
    }
}

/// Makes a call, and makes it again if the variant repeats calls that failed like this.
macro_rules! call {
    ($self:ident, $call:expr) => {{
        $self.begin().await;
        let answer = $call.await;
        if $self.repeats(&answer).await { $call.await } else { answer }
    }};
}

#[async_trait]
impl Platform for VariantPlatform {
    async fn site(&self) -> Result<SiteView, PlatformError> {
        self.platform.site().await
    }

    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError> {
        self.platform.infrastructure().await
    }

    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        call!(self, self.platform.connect_agent(machine, process_server))
    }

    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError> {
        call!(self, self.platform.attach_to_master_target(machine, master_target))
    }

    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError> {
        call!(self, self.platform.detach_from_master_target(machine))
    }

    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        call!(self, self.platform.merge_snapshots(machine))
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        Ok(self.machine_view(self.platform.machine(id).await?))
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        let views = self.platform.machines().await?;
        Ok(views.into_iter().map(|view| self.machine_view(view)).collect())
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        let mut named = spec.clone();
        for (_, volume) in &mut named.disks {
            *volume = self.named(volume);
        }
        Ok(self.machine_view(call!(self, self.platform.create_machine(&named))?))
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        call!(self, self.platform.delete_machine(id))
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.pause(self.differs.pace().start).await;
        call!(self, self.platform.start(id))
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        call!(self, self.platform.shut_down(id, within))
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        call!(self, self.platform.power_off(id))
    }

    async fn screenshot(&self, id: &MachineId) -> Result<Vec<u8>, PlatformError> {
        self.platform.screenshot(id).await
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.activity.note(self.differs.before_snapshot(&*self.platform, machine).await);
        let snapshot = call!(self, self.platform.open_snapshot(machine, since))?;
        Ok(self.snapshot(snapshot))
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        for (machine, _) in &request.machines {
            self.activity.note(self.differs.before_snapshot(&*self.platform, machine).await);
        }
        let snapshots = call!(self, self.platform.open_snapshots(request))?;
        Ok(snapshots.into_iter().map(|snapshot| self.snapshot(snapshot)).collect())
    }

    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        call!(self, self.platform.close_snapshot(snapshot, acknowledge))
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        call!(self, self.platform.stop_tracking(machine))
    }

    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        Ok(self.volume_view(self.platform.volume(&self.named(id)).await?))
    }

    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.differs.new_volume(id);
        let id = self.named(id);
        Ok(self.volume_view(call!(self, self.platform.create_volume(&id, size, datastore))?))
    }

    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.differs.new_volume(id);
        let (id, parent) = (self.named(id), self.named(parent));
        Ok(self.volume_view(call!(self, self.platform.derive_volume(&id, &parent))?))
    }

    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        let (top, base) = (self.named(top), self.named(base));
        call!(self, self.platform.merge_volumes(&top, &base))
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        let id = self.named(id);
        call!(self, self.platform.delete_volume(&id))
    }

    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        let id = self.named(id);
        call!(self, self.platform.export_volume(&id, access))
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        call!(self, self.platform.close_export(id))
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        self.platform.close_all().await
    }
}
