//! Faults between a core and a platform: a decorator that changes the calls of a sound core.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, Consistency, DiskSnapshot, Export,
    ExportId, MachineId, MachineSpec, MachineView, Millis, Network, Platform, PlatformError,
    PlatformErrorKind, PlatformKind, SiteView, SnapshotId, SnapshotRequest, VolumeId, VolumeView,
};

use super::across_sites::AcrossSites;
use super::activation::Activation;
use super::blank::Blank;
use super::platform::PlatformFault;
use super::site_acts;

/// Time between two machines of a group whose points are not taken together.
const APART: Duration = Duration::from_secs(5);
/// Time between two snapshots of a machine that the core no longer replicates.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long after a call its late consequences come.
const LATE: Duration = Duration::from_secs(5);

/// How many snapshots of several machines are taken until there are no more.
const MOST_SHARED: u64 = 3;

/// A sound platform, as a faulty core drives it.
pub(super) struct FaultyPlatform {
    platform: Arc<dyn Platform>,
    fault: PlatformFault,
    activation: Arc<Activation>,
    across: Arc<AcrossSites>,
    /// Whether a snapshot has failed.
    snapshot_failed: AtomicBool,
    /// Whether a snapshot was taken that begins replication.
    has_begun: AtomicBool,
    /// How many times snapshots of several machines were asked for.
    shared: AtomicU64,
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
        across: Arc<AcrossSites>,
    ) -> Self {
        let shut_down = Mutex::default();
        let replicated = Mutex::default();
        let [snapshot_failed, has_begun] = [false, false].map(AtomicBool::new);
        across.add(&platform);
        let shared = AtomicU64::new(0);
        Self {
            platform,
            fault,
            activation,
            across,
            snapshot_failed,
            has_begun,
            shared,
            shut_down,
            replicated,
        }
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

    /// Whether this is the fault, it is active, and the site is the cloud.
    async fn has_in_cloud(&self, fault: PlatformFault) -> Result<bool, PlatformError> {
        Ok(self.fault == fault && self.is_cloud().await? && self.has(fault))
    }

    /// Whether this is the fault, it is active, and the site is on premises.
    async fn has_on_premises(&self, fault: PlatformFault) -> Result<bool, PlatformError> {
        Ok(self.fault == fault && !self.is_cloud().await? && self.has(fault))
    }

    /// Does something a while after the call that led to it.
    fn later<F: Future<Output = ()> + Send + 'static>(
        &self,
        act: impl FnOnce(Arc<dyn Platform>) -> F + Send + 'static,
    ) {
        let platform = Arc::clone(&self.platform);
        drop(tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            act(platform).await;
        }));
    }

    /// The error of a snapshot that the fault does not let happen.
    fn no_snapshot(&self, since: Option<&ChangeId>) -> Result<(), PlatformError> {
        let goes_on = since.is_some() && !self.has_begun.load(Ordering::SeqCst);
        self.has_begun.fetch_or(since.is_none(), Ordering::SeqCst);
        let stopped = self.fault == PlatformFault::StopsWhenReopened && goes_on
            || self.fault == PlatformFault::StopsInTestFailovers && !self.across.tests().is_empty()
            || self.fault == PlatformFault::StopsAfterOutage && self.snapshot_failed.load(Ordering::SeqCst);
        if !stopped || !self.has(self.fault) {
            return Ok(());
        }
        let message = "this core takes no snapshots any more".to_owned();
        Err(PlatformError { site: "a faulty core".to_owned(), kind: PlatformErrorKind::Unreachable, message })
    }

    /// Remembers that a snapshot has failed.
    fn watched<T>(&self, answer: Result<T, PlatformError>) -> Result<T, PlatformError> {
        if answer.is_err() {
            self.snapshot_failed.store(true, Ordering::SeqCst);
        }
        answer
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
            self.across.keep(Blank::show_unchanged(snapshot));
        }
    }

    /// The volume that a faulty core writes instead of this one.
    async fn volume_to_write(&self, id: &VolumeId) -> Result<VolumeId, PlatformError> {
        let platform = &self.platform;
        if self.has(PlatformFault::TransfersEverything) {
            site_acts::destroy(platform, id).await?;
        }
        if self.has(PlatformFault::WritesIntoOlderPoint) {
            return site_acts::below(platform, id).await;
        }
        let instead = match self.has_on_premises(PlatformFault::WritesForeignDisk).await? {
            true => site_acts::foreign(platform, id).await?,
            false => None,
        };
        Ok(instead.unwrap_or_else(|| id.clone()))
    }

    /// Merges volumes of which no machine has one as its disk, and loses a sector of the changes.
    async fn merge_and_lose(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        let machines = self.platform.machines().await?;
        let mut disks = machines.iter().flat_map(|machine| &machine.disks);
        let has_disk = disks.any(|disk| disk.volume == *top || disk.volume == *base);
        let lost = if has_disk { None } else { site_acts::first_change(&self.platform, top, base).await? };
        self.platform.merge_volumes(top, base).await?;
        let Some(lost) = lost else { return Ok(()) };
        self.activation.note_act();
        site_acts::write_sector(&self.platform, base, lost).await
    }

    /// Edits the settings inside a machine in the cloud before it is made.
    async fn edit_guest_settings(&self, spec: &MachineSpec) -> Result<(), PlatformError> {
        let [from, to] = match self.fault {
            PlatformFault::OpensGuestFirewall => ["FIREWALL=refuses-ssh\n", "FIREWALL=admits-ssh \n"],
            PlatformFault::DisablesGuestSsh => ["SSH=yes\n", "SSH=no \n"],
            _ => return Ok(()),
        };
        if self.activation.is_active()
            && self.is_cloud().await?
            && site_acts::edit_guest_settings(&self.platform, spec, from, to).await?
        {
            self.activation.note_act();
        }
        Ok(())
    }

    async fn open_disks_too_early(&self, id: &MachineId) -> Result<(), PlatformError> {
        if self.has_on_premises(PlatformFault::OpensDisksOfRunningOriginal).await? {
            site_acts::open_first_disk(&self.platform, id).await?;
        }
        Ok(())
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
        if let Some((_, volume)) = spec.disks.last_mut()
            && self.has(PlatformFault::ShortDisk)
        {
            *volume = site_acts::shorter(&self.platform, volume).await?;
        }
        if self.has(PlatformFault::LosesSecondTable) {
            site_acts::clear_last_sector(&self.platform, &spec).await?;
        }
        if spec.network == Network::Isolated {
            self.across.tests().insert(spec.id.clone());
            self.across.tested.store(true, Ordering::SeqCst);
            if self.has(PlatformFault::TestsOnThePoint) {
                for (_, volume) in &mut spec.disks {
                    *volume = site_acts::below(&self.platform, volume).await?;
                }
            }
            if self.has(PlatformFault::TestsInProduction) {
                spec.network = Network::Production;
            }
        }
        if self.has(PlatformFault::HydratesSilently) {
            site_acts::edit_boot_partition(&self.platform, &spec).await?;
        }
        if self.has(PlatformFault::HydratesThePoint) {
            site_acts::edit_below(&self.platform, &spec).await?;
        }
        self.edit_guest_settings(&spec).await?;
        self.platform.create_machine(&spec).await
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        if self.has(PlatformFault::KeepsMachines) {
            return Ok(());
        }
        self.across.tests().remove(id);
        match self.platform.delete_machine(id).await {
            Err(error)
                if error.kind == PlatformErrorKind::NotFound
                    && self.has(PlatformFault::DeletesCloudCopyEarly) =>
            {
                Ok(())
            }
            answer => answer,
        }
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        if self.has(PlatformFault::StartsNothing) {
            return Ok(());
        }
        if self.has(PlatformFault::NeedsEverySite) {
            self.across.silent_site().await?;
        }
        if self.has_on_premises(PlatformFault::MakesNewMachine).await? {
            site_acts::make_anew(&self.platform, id).await?;
        }
        self.platform.start(id).await
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        if self.has_in_cloud(PlatformFault::CloudSourceRuns).await? {
            return Ok(());
        }
        if self.has_on_premises(PlatformFault::LeavesOriginalRunning).await? {
            return Ok(());
        }
        if self.has(PlatformFault::KillsSource) {
            return self.platform.power_off(id).await;
        }
        let machine = id.clone();
        if self.has(PlatformFault::SourceEndsLate) {
            self.later(async move |site| drop(site.shut_down(&machine, within).await));
            return Ok(());
        }
        self.open_disks_too_early(id).await?;
        self.platform.shut_down(id, within).await?;
        if self.has_in_cloud(PlatformFault::TransfersAfterStart).await? {
            self.later(async move |site| drop(site.open_snapshot(&machine, None).await));
        } else if self.has_in_cloud(PlatformFault::DeletesCloudCopyEarly).await? {
            self.later(async move |site| drop(site.delete_machine(&machine).await));
        }
        if self.fault == PlatformFault::LosesLastTransfer {
            self.shut_down_machines().insert(id.clone());
        }
        Ok(())
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        if self.has_on_premises(PlatformFault::LeavesOriginalRunning).await? {
            return Ok(());
        }
        self.open_disks_too_early(id).await?;
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
        self.no_snapshot(since)?;
        let since = since.filter(|_| !self.has(PlatformFault::TransfersEverything));
        let mut snapshot = self.watched(self.platform.open_snapshot(machine, since).await)?;
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
        if request.machines.len() > 1
            && self.fault == PlatformFault::StopsSharing
            && self.shared.fetch_add(1, Ordering::Relaxed) >= MOST_SHARED
            && self.has(PlatformFault::StopsSharing)
        {
            return Err(site_acts::refusal("no snapshots of several machines any more"));
        }
        if request.consistency == Consistency::App && self.has(PlatformFault::SkipsQuiesce) {
            request.consistency = Consistency::Crash;
        }
        self.no_snapshot(request.machines.first().and_then(|(_, since)| since.as_ref()))?;
        for (_, since) in &mut request.machines {
            since.take_if(|_| self.has(PlatformFault::TransfersEverything));
        }
        let mut all = self.watched(self.platform.open_snapshots(&request).await)?;
        if let [first, second, ..] = all.as_mut_slice()
            && self.has(PlatformFault::SwapsGroupMembers)
        {
            std::mem::swap(&mut first.disks, &mut second.disks);
        }
        Ok(all)
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
        if self.across.tested.load(Ordering::SeqCst) && self.has(PlatformFault::PinsTestedChains) {
            return Err(site_acts::refusal("the chain is in use by a test failover"));
        }
        // A machine that is kept keeps its disks.
        if self.fault == PlatformFault::KeepsMachines
            && site_acts::is_disk_of_stopped_machine(&self.platform, top).await?
            && self.has(PlatformFault::KeepsMachines)
        {
            return Ok(());
        }
        if self.fault == PlatformFault::LosesMergedSector && self.activation.is_active() {
            return self.merge_and_lose(top, base).await;
        }
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
        let mut volume = id.clone();
        if access == Access::Write {
            volume = self.volume_to_write(id).await?;
        }
        self.platform.export_volume(&volume, access).await
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        self.platform.close_export(id).await
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        self.platform.close_all().await
    }
}
