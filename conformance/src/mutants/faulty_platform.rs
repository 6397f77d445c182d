//! Faults between a core and a platform: a decorator that changes the calls of a sound core.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, Consistency, DiskSnapshot, Export,
    ExportId, MachineId, MachineSpec, MachineView, Millis, Network, Platform, PlatformError, PlatformKind,
    SiteView, SnapshotId, SnapshotRequest, VolumeId, VolumeView,
};

use super::activation::Activation;
use super::platform::PlatformFault;

/// Time between two machines of a group whose points are not taken together.
const APART: Duration = Duration::from_secs(5);
/// Time between two snapshots of a machine that the core no longer replicates.
const INTERVAL: Duration = Duration::from_secs(60);

/// A sound platform, as a faulty core drives it.
pub(super) struct FaultyPlatform {
    platform: Arc<dyn Platform>,
    fault: PlatformFault,
    activation: Arc<Activation>,
    /// Machines that were shut down and not transferred since.
    shut_down: Mutex<BTreeSet<MachineId>>,
    /// Machines of which snapshots are taken for ever.
    replicated: Mutex<BTreeSet<MachineId>>,
}

impl FaultyPlatform {
    pub(super) fn new(
        platform: Arc<dyn Platform>,
        fault: PlatformFault,
        activation: Arc<Activation>,
    ) -> Self {
        let shut_down = Mutex::default();
        let replicated = Mutex::default();
        Self { platform, fault, activation, shut_down, replicated }
    }

    /// Whether this is the fault and it is active. A call for which that is so is altered.
    fn has(&self, fault: PlatformFault) -> bool {
        let has = self.fault == fault && self.activation.is_active();
        if has {
            self.activation.note_act();
        }
        has
    }

    async fn is_cloud(&self) -> Result<bool, PlatformError> {
        Ok(self.platform.site().await?.kind == PlatformKind::Azure)
    }

    fn shut_down_machines(&self) -> MutexGuard<'_, BTreeSet<MachineId>> {
        self.shut_down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Withholds the content of a snapshot that is the last one of its machine.
    fn withhold(&self, machine: &MachineId, snapshot: &mut DiskSnapshot) {
        if self.fault == PlatformFault::LosesLastTransfer
            && self.shut_down_machines().remove(machine)
            && self.has(PlatformFault::LosesLastTransfer)
        {
            snapshot.disks.clear();
        }
    }

    /// Takes a snapshot of a machine every minute, once the core has taken one.
    fn replicate_for_ever(&self, machine: &MachineId) {
        if self.fault != PlatformFault::ReplicatesForever || !self.activation.is_active() {
            return;
        }
        let mut known = self.replicated.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.insert(machine.clone()) {
            return;
        }
        let machine = machine.clone();
        let platform = Arc::clone(&self.platform);
        let activation = Arc::clone(&self.activation);
        drop(tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                activation.note_act();
                if let Ok(snapshot) = platform.open_snapshot(&machine, None).await {
                    drop(platform.close_snapshot(&snapshot.id, Acknowledge::Keep).await);
                }
            }
        }));
    }
}

#[async_trait]
impl Platform for FaultyPlatform {
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
        self.platform.connect_agent(machine, process_server).await
    }

    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError> {
        self.platform.attach_to_master_target(machine, master_target).await
    }

    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.platform.detach_from_master_target(machine).await
    }

    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        if self.has(PlatformFault::KeepsSnapshots) {
            return Ok(());
        }
        self.platform.merge_snapshots(machine).await
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        self.platform.machine(id).await
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        self.platform.machines().await
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        let mut spec = spec.clone();
        if let [first, second, ..] = spec.disks.as_mut_slice()
            && self.has(PlatformFault::SwapsDisks)
        {
            std::mem::swap(&mut first.1, &mut second.1);
        }
        if spec.disks.len() > 1 && self.has(PlatformFault::LosesDisk) {
            spec.disks.pop();
        }
        if spec.network == Network::Isolated && self.has(PlatformFault::TestsInProduction) {
            spec.network = Network::Production;
        }
        self.platform.create_machine(&spec).await
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        if self.has(PlatformFault::KeepsMachines) {
            return Ok(());
        }
        self.platform.delete_machine(id).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.platform.start(id).await
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        if self.fault == PlatformFault::CloudSourceRuns
            && self.is_cloud().await?
            && self.has(PlatformFault::CloudSourceRuns)
        {
            return Ok(());
        }
        self.platform.shut_down(id, within).await?;
        if self.fault == PlatformFault::LosesLastTransfer {
            self.shut_down_machines().insert(id.clone());
        }
        Ok(())
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.platform.power_off(id).await
    }

    async fn screenshot(&self, id: &MachineId) -> Result<Vec<u8>, PlatformError> {
        self.platform.screenshot(id).await
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        self.replicate_for_ever(machine);
        if self.has(PlatformFault::PowersSourceOff) {
            self.platform.power_off(machine).await?;
        }
        let mut snapshot = self.platform.open_snapshot(machine, since).await?;
        self.withhold(machine, &mut snapshot);
        Ok(snapshot)
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let mut request = request.clone();
        if request.machines.len() > 1 && self.has(PlatformFault::GroupNotTogether) {
            let mut all = Vec::new();
            for (machine, since) in &request.machines {
                all.push(self.platform.open_snapshot(machine, since.as_ref()).await?);
                tokio::time::sleep(APART).await;
            }
            return Ok(all);
        }
        if request.consistency == Consistency::App && self.has(PlatformFault::SkipsQuiesce) {
            request.consistency = Consistency::Crash;
        }
        self.platform.open_snapshots(&request).await
    }

    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        self.platform.close_snapshot(snapshot, acknowledge).await
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.platform.stop_tracking(machine).await
    }

    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.platform.volume(id).await
    }

    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.platform.create_volume(id, size, datastore).await
    }

    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.platform.derive_volume(id, parent).await
    }

    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        self.platform.merge_volumes(top, base).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        // A volume that does not exist is not kept.
        if self.platform.volume(id).await.is_ok() && self.has(PlatformFault::KeepsVolumes) {
            return Ok(());
        }
        let deleted = self.platform.delete_volume(id).await;
        // The volumes of a machine that is kept are in use.
        if deleted.is_err() && self.has(PlatformFault::KeepsMachines) { Ok(()) } else { deleted }
    }

    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        self.platform.export_volume(id, access).await
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        self.platform.close_export(id).await
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        self.platform.close_all().await
    }
}
