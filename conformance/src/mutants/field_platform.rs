//! Faults that products had at the sites that they drive: a decorator that changes the calls of a
//! sound core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, Consistency, DiskId, DiskSnapshot, Export,
    ExportId, MachineId, MachineSpec, MachineView, Millis, Network, Platform, PlatformError,
    PlatformErrorKind, PlatformKind, SiteView, SnapshotId, SnapshotRequest, VolumeId, VolumeView,
};

use super::across_sites::AcrossSites;
use super::activation::Activation;
use super::blank::Blank;
use super::field::FieldFault;
use super::site_acts;

/// What a faulty core remembers of one site.
#[derive(Default)]
struct Memory {
    /// The machines that it has made.
    made: BTreeMap<MachineId, MachineView>,
    /// Full copies under way.
    copies: BTreeMap<SnapshotId, MachineId>,
    /// Machines of which a full copy was interrupted.
    interrupted: BTreeSet<MachineId>,
    /// The disks that each machine had at first.
    disks: BTreeMap<MachineId, Vec<DiskId>>,
    /// Snapshots of another site that are shown as one of this site.
    foreign: BTreeMap<SnapshotId, (Arc<dyn Platform>, SnapshotId)>,
}

/// A sound platform, as a core drives it that has a fault of a product.
pub(super) struct FieldPlatform {
    platform: Arc<dyn Platform>,
    fault: FieldFault,
    activation: Arc<Activation>,
    across: Arc<AcrossSites>,
    merge_failed: AtomicBool,
    memory: Mutex<Memory>,
}

impl FieldPlatform {
    pub(super) fn new(
        platform: Arc<dyn Platform>,
        fault: FieldFault,
        activation: Arc<Activation>,
        across: Arc<AcrossSites>,
    ) -> Self {
        let (merge_failed, memory) = (AtomicBool::new(false), Mutex::default());
        across.add(&platform);
        Self { platform, fault, activation, across, merge_failed, memory }
    }

    /// Whether this is the fault and it is active. A call for which that is so is altered.
    fn has(&self, fault: FieldFault) -> bool {
        let has = self.fault == fault && self.activation.is_active();
        if has {
            self.activation.note_act();
        }
        has
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers that a call succeeded that failed, if that is the fault.
    fn ignoring(&self, fault: FieldFault, answer: Result<(), PlatformError>) -> Result<(), PlatformError> {
        match answer {
            Err(_) if self.has(fault) => Ok(()),
            answer => answer,
        }
    }

    /// Answers that a call succeeded which the site did not answer, if that is the fault.
    fn unless_silent(&self, answer: Result<(), PlatformError>) -> Result<(), PlatformError> {
        match answer {
            Err(error)
                if error.kind == PlatformErrorKind::Unreachable && self.has(FieldFault::SilenceIsSuccess) =>
            {
                Ok(())
            }
            answer => answer,
        }
    }

    /// Shows the first disk of a full copy as empty, if an earlier copy of the machine failed.
    fn leave_hole(&self, machine: &MachineId, since: Option<&ChangeId>, snapshot: &mut DiskSnapshot) {
        if self.fault != FieldFault::ResumesWithHole || since.is_some() {
            return;
        }
        let was_interrupted = self.memory().interrupted.contains(machine);
        if let Some(first) = snapshot.disks.first_mut().filter(|_| was_interrupted)
            && self.has(FieldFault::ResumesWithHole)
        {
            let served = Blank::serve(&format!("{machine}-{}", snapshot.id), first.size);
            first.uri = served.uri();
            self.across.keep(vec![served]);
        }
        self.memory().copies.insert(snapshot.id.clone(), machine.clone());
    }

    /// The last machine that has the UUID of this one, if that is the fault.
    async fn by_uuid(&self, machine: &MachineId) -> Result<MachineId, PlatformError> {
        if self.fault != FieldFault::FindsByUuid {
            return Ok(machine.clone());
        }
        let uuid = self.platform.machine(machine).await?.uuid;
        let others = self.platform.machines().await?.into_iter().filter(|other| other.uuid == uuid);
        let found = others.map(|other| other.id).max();
        let other = found.filter(|found| found != machine && self.has(FieldFault::FindsByUuid));
        Ok(other.unwrap_or_else(|| machine.clone()))
    }

    /// Shows the second disk of a full copy as empty, if the machine has snapshots.
    async fn read_top_only(
        &self,
        machine: &MachineId,
        snapshot: &mut DiskSnapshot,
    ) -> Result<(), PlatformError> {
        if self.fault != FieldFault::ReadsTopOnly || self.platform.machine(machine).await?.snapshots == 0 {
            return Ok(());
        }
        if let Some(second) = snapshot.disks.get_mut(1)
            && self.has(FieldFault::ReadsTopOnly)
        {
            let served = Blank::serve(&format!("{machine}-{}", snapshot.id), second.size);
            second.uri = served.uri();
            self.across.keep(vec![served]);
        }
        Ok(())
    }

    /// Leaves out the disks that a machine did not have at first.
    fn leave_new_disks_out(&self, machine: &MachineId, snapshot: &mut DiskSnapshot) {
        if self.fault != FieldFault::IgnoresNewDisk {
            return;
        }
        let ids = snapshot.disks.iter().map(|disk| disk.id.clone()).collect();
        let known = self.memory().disks.entry(machine.clone()).or_insert(ids).clone();
        if snapshot.disks.iter().any(|disk| !known.contains(&disk.id)) && self.has(FieldFault::IgnoresNewDisk)
        {
            snapshot.disks.retain(|disk| known.contains(&disk.id));
        }
    }

    /// Shows the disks of the old machine instead of those of a machine in the cloud.
    async fn show_old_side(&self, snapshot: &mut DiskSnapshot) -> Result<(), PlatformError> {
        if self.fault != FieldFault::KeepsOldSide || self.platform.site().await?.kind != PlatformKind::Azure {
            return Ok(());
        }
        let sizes = |disks: &[(DiskId, Bytes)]| disks.iter().map(|(_, size)| *size).collect::<Vec<_>>();
        let wanted: Vec<_> = snapshot.disks.iter().map(|disk| (disk.id.clone(), disk.size)).collect();
        for site in self.across.all() {
            if site.site().await?.kind == PlatformKind::Azure {
                continue;
            }
            for old in site.machines().await? {
                let disks: Vec<_> = old.disks.iter().map(|disk| (disk.id.clone(), disk.size)).collect();
                if sizes(&disks) != sizes(&wanted) || !self.has(FieldFault::KeepsOldSide) {
                    continue;
                }
                let shown = site.open_snapshot(&old.id, None).await?;
                for (disk, instead) in snapshot.disks.iter_mut().zip(&shown.disks) {
                    disk.uri.clone_from(&instead.uri);
                }
                self.memory().foreign.insert(snapshot.id.clone(), (site, shown.id));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Deletes a machine with its disks, as far as that is possible.
    async fn delete_with_disks(&self, machine: &MachineId) -> Result<(), PlatformError> {
        let view = self.platform.machine(machine).await?;
        self.platform.power_off(machine).await?;
        self.platform.delete_machine(machine).await?;
        for disk in view.disks {
            drop(self.platform.delete_volume(&disk.volume).await);
        }
        Ok(())
    }
}

#[async_trait]
impl Platform for FieldPlatform {
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
        self.platform.merge_snapshots(machine).await
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        let answer = self.platform.machine(id).await;
        let is_gone = answer.as_ref().is_err_and(|error| error.kind == PlatformErrorKind::NotFound);
        let made = self.memory().made.get(id).cloned();
        match made.filter(|_| is_gone) {
            Some(view) if self.has(FieldFault::RemembersMachines) => Ok(view),
            _ => answer,
        }
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        let mut all = self.platform.machines().await?;
        let made: Vec<_> = self.memory().made.values().cloned().collect();
        for view in made {
            let is_gone = all.iter().all(|known| known.id != view.id);
            if is_gone && self.has(FieldFault::RemembersMachines) {
                all.push(view);
            }
        }
        Ok(all)
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        let mut spec = spec.clone();
        if spec.network == Network::Production && self.has(FieldFault::RunsOnThePoint) {
            for (_, volume) in &mut spec.disks {
                *volume = site_acts::below(&self.platform, volume).await?;
            }
        }
        let mut created = self.platform.create_machine(&spec).await;
        if created.as_ref().is_err_and(|error| error.kind == PlatformErrorKind::Exists)
            && self.has(FieldFault::ClearsTheWay)
        {
            self.delete_with_disks(&spec.id).await?;
            created = self.platform.create_machine(&spec).await;
        }
        if let Ok(view) = &created {
            self.memory().made.insert(spec.id.clone(), view.clone());
        }
        created
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.memory().made.remove(id);
        let deleted = self.unless_silent(self.platform.delete_machine(id).await);
        self.ignoring(FieldFault::IgnoresDeletionErrors, deleted)
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        let started = self.unless_silent(self.platform.start(id).await);
        if self.fault == FieldFault::TakesHydrationBack
            && self.platform.site().await?.kind == PlatformKind::Azure
            && self.has(FieldFault::TakesHydrationBack)
        {
            site_acts::spoil_once_off(Arc::clone(&self.platform), id.clone());
        }
        self.ignoring(FieldFault::IgnoresStartErrors, started)
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        self.platform.shut_down(id, within).await
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        let off = self.unless_silent(self.platform.power_off(id).await);
        self.ignoring(FieldFault::IgnoresDeletionErrors, off)
    }

    async fn screenshot(&self, id: &MachineId) -> Result<Vec<u8>, PlatformError> {
        self.platform.screenshot(id).await
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        let machine = &self.by_uuid(machine).await?;
        let mut snapshot = self.platform.open_snapshot(machine, since).await?;
        self.leave_hole(machine, since, &mut snapshot);
        self.leave_new_disks_out(machine, &mut snapshot);
        if since.is_none() {
            self.read_top_only(machine, &mut snapshot).await?;
            self.show_old_side(&mut snapshot).await?;
        }
        Ok(snapshot)
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let answer = self.platform.open_snapshots(request).await;
        if answer.as_ref().is_err_and(|error| error.kind == PlatformErrorKind::NotQuiesced)
            && self.has(FieldFault::LabelsUnquiesced)
        {
            let request = SnapshotRequest { consistency: Consistency::Crash, ..request.clone() };
            return self.platform.open_snapshots(&request).await;
        }
        answer
    }

    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        let foreign = self.memory().foreign.remove(snapshot);
        if let Some((site, id)) = foreign {
            site.close_snapshot(&id, Acknowledge::Keep).await?;
        }
        let machine = self.memory().copies.remove(snapshot);
        if let Some(machine) = machine.filter(|_| acknowledge == Acknowledge::Keep) {
            self.memory().interrupted.insert(machine);
        }
        self.platform.close_snapshot(snapshot, acknowledge).await
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.platform.stop_tracking(machine).await?;
        if self.fault == FieldFault::EndsWithTheMachine
            && self.platform.site().await?.kind == PlatformKind::Azure
            && self.has(FieldFault::EndsWithTheMachine)
        {
            self.delete_with_disks(machine).await?;
        }
        Ok(())
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
        if self.merge_failed.load(Ordering::SeqCst) && self.has(FieldFault::StuckMerge) {
            return Err(site_acts::refusal("an earlier merge was not completed"));
        }
        let merged = self.platform.merge_volumes(top, base).await;
        self.merge_failed.fetch_or(merged.is_err(), Ordering::SeqCst);
        self.unless_silent(merged)
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        let deleted = self.unless_silent(self.platform.delete_volume(id).await);
        self.ignoring(FieldFault::IgnoresDeletionErrors, deleted)
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
