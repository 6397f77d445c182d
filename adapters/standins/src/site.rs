//! A site of stand-in machines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use contract::{
    Access, Acknowledge, Bytes, ChangeId, Component, ComponentId, DiskSnapshot, Export, ExportId, MachineId,
    MachineSpec, MachineView, Millis, Platform, PlatformError, PlatformErrorKind as Kind, SiteId, SiteView,
    SnapshotId, SnapshotRequest, VolumeId, VolumeView,
};
use harness::Ending;
use harness::host::Host;
use harness::machine::Accelerator;
use harness::scratch::Scratch;
use harness::storage::StorageDaemon;
use harness::tools::{self, Format};
use inventory::{Infrastructure, Volumes};
use tokio::sync::{Mutex, RwLock, watch};

use crate::active_faults::Faults;
use crate::own_failure::OwnFailure;
use crate::state::{State, VolumeRecord};
use crate::{Boot, Profile, TrackingMechanism};

/// Configuration of a site.
#[derive(Clone)]
pub struct SiteConfig {
    /// Its id.
    pub id: SiteId,
    /// The stand-in that it is.
    pub profile: Profile,
    /// The connection to libvirt.
    pub host: Host,
    /// Whether to log every write of its guests, as the oracle requires.
    pub log_writes: bool,
    /// The accelerator chosen by trial boot.
    pub accelerator: Accelerator,
    /// Whether the accelerator has Hyper-V enlightenments, or why not.
    pub enlightenments: Result<(), String>,
    /// Directory for sockets.
    pub scratch: Arc<Scratch>,
    /// Directory for volumes, logs and copies.
    pub dir: Utf8PathBuf,
}

/// A site. Its machines are libvirt domains, its volumes image files.
pub struct StandInSite {
    pub(crate) config: SiteConfig,
    pub(crate) storage: StorageDaemon,
    pub(crate) state: Mutex<State>,
    pub(crate) components: Infrastructure,
    pub(crate) faults: Faults,
    /// Counts boots of all machines, to wake tasks that wait for a boot.
    pub(crate) booted: watch::Sender<u64>,
    /// Locked during a merge, so that no volume of the chain is opened meanwhile.
    pub(crate) merging: Mutex<()>,
    /// Counts closed exports and snapshots, to wake tasks that wait for them.
    pub(crate) closed: watch::Sender<u64>,
    /// Locked for reading to open a snapshot, and for writing to block snapshots.
    pub(crate) snapshotting: Arc<RwLock<()>>,
    /// Failures of the site itself, oldest first.
    pub(crate) own_failures: std::sync::Mutex<Vec<OwnFailure>>,
    /// The ends of all QEMUs that it started, the oldest first.
    pub(crate) endings: std::sync::Mutex<Vec<Arc<Ending>>>,
    /// Whether the whole site is lost, so that no call is answered.
    lost: AtomicBool,
}

/// A machine to install, from prepared images.
pub struct Installed<'a> {
    /// Its specification.
    pub spec: MachineSpec,
    /// Raw image of each disk, in the order of the spec.
    pub images: &'a [Utf8PathBuf],
}

impl StandInSite {
    /// Opens the site: its directories and its storage daemon.
    ///
    /// # Errors
    /// The directory is not writable, or the daemon does not start.
    pub async fn open(config: SiteConfig) -> harness::Result<Arc<Self>> {
        for dir in ["volumes", "machines", "logs"] {
            let dir = config.dir.join(dir);
            std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
        }
        let name = format!("{}-storage", config.id);
        let storage = StorageDaemon::start(&name, config.scratch.path(), &config.dir.join("logs")).await?;
        let (booted, _) = watch::channel(0);
        let (closed, _) = watch::channel(0);
        let state = Mutex::default();
        let merging = Mutex::default();
        let components = Infrastructure::with_range(&config.id.0, config.profile.kind, config.profile.range);
        let snapshotting = Arc::default();
        let lost = AtomicBool::new(false);
        let faults = Faults::default();
        let own_failures = std::sync::Mutex::default();
        let endings = std::sync::Mutex::default();
        Ok(Arc::new(Self {
            config,
            storage,
            state,
            components,
            faults,
            booted,
            merging,
            closed,
            snapshotting,
            own_failures,
            endings,
            lost,
        }))
    }

    /// Name in reports.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.config.profile.label
    }

    /// Differences between its machines and their description on this host.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let SiteConfig { profile, enlightenments, .. } = &self.config;
        match enlightenments {
            Err(why) if profile.hardware.enlightened => {
                vec![format!("{}: Hyper-V enlightenments are left out: {why}", profile.label)]
            }
            _ => Vec::new(),
        }
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.config.profile
    }

    /// Its components, which can be inspected, broken and repaired.
    #[must_use]
    pub fn components(&self) -> &Infrastructure {
        &self.components
    }

    /// Ends every guest and the storage daemon; files are kept. Continues after a failure and
    /// returns the first one.
    ///
    /// # Errors
    /// A domain could not be removed, or the daemon did not end.
    pub async fn close(&self) -> harness::Result<()> {
        let domains: Vec<_> =
            self.state.lock().await.machines.values_mut().filter_map(|m| m.domain.take()).collect();
        let mut first = Ok(());
        for domain in domains {
            first = first.and(domain.remove().await);
        }
        first.and(self.storage.stop().await)
    }

    /// Cuts the power of the whole site: no call is answered any more, and every guest is killed
    /// with its writes in flight. Returns the time of the first kill.
    ///
    /// # Errors
    /// A guest could not be killed.
    pub async fn lose(&self) -> harness::Result<Instant> {
        self.lost.store(true, Ordering::SeqCst);
        let struck = Instant::now();
        let running: Vec<_> = {
            let state = self.state.lock().await;
            state.machines.values().filter_map(|machine| machine.running().cloned()).collect()
        };
        let mut first = None;
        for boot in running {
            let cut = boot.guest.power_cut().await?;
            first.get_or_insert(cut);
        }
        Ok(first.unwrap_or(struck))
    }

    /// Makes a lost site available again; its machines are off, and its disks are as the power cut
    /// left them.
    pub fn restore(&self) {
        self.lost.store(false, Ordering::SeqCst);
    }

    /// Whether the site is lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn reachable(&self) -> Result<(), PlatformError> {
        if self.lost.load(Ordering::SeqCst) {
            return Err(self.refuse(Kind::Unreachable, "the site does not answer"));
        }
        Ok(())
    }

    /// Refuses operations that need a hypervisor, which physical servers do not have (PH-01).
    fn must_have_hypervisor(&self) -> Result<(), PlatformError> {
        if self.config.profile.tracking == TrackingMechanism::Agent {
            let text = "physical servers have no hypervisor to create or open machines and volumes; use a site that has one";
            return Err(self.refuse(Kind::Unsupported, text));
        }
        Ok(())
    }

    /// Installs a machine: converts its disks to this platform's format.
    ///
    /// # Errors
    /// The images cannot be read or converted.
    pub async fn install(&self, installed: &Installed<'_>) -> Result<MachineView, PlatformError> {
        for ((_, volume), image) in installed.spec.disks.iter().zip(installed.images) {
            let format = self.config.profile.format;
            self.components.new_volume(volume, None).map_err(self.denied())?;
            let path = self.new_path(volume, format)?;
            let bytes = std::fs::metadata(image)
                .map_err(|error| self.refuse(Kind::Failed, format!("{image}: {error}")))?
                .len();
            tools::convert(image, Format::Raw, &path, format).await.map_err(self.failed("install a disk"))?;
            let record = VolumeRecord { path, format, bytes, parent: None };
            self.state.lock().await.volumes.insert(volume.clone(), record);
        }
        self.reachable()?;
        self.add_machine(&installed.spec).await
    }

    /// Waits for a boot of `machine` with a number above `previous_boot`.
    pub async fn boot_after(&self, machine: &MachineId, previous_boot: u32) -> Arc<Boot> {
        let mut booted = self.booted.subscribe();
        loop {
            booted.borrow_and_update();
            if let Some(boot) = self.last_boot(machine).await.filter(|boot| boot.number > previous_boot) {
                return boot;
            }
            if booted.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The last boot of a machine.
    pub async fn last_boot(&self, machine: &MachineId) -> Option<Arc<Boot>> {
        self.state.lock().await.machines.get(machine)?.last_boot.clone()
    }

    /// Snapshots taken of a machine since its last boot, by any caller: a cost of replication,
    /// counted below the core.
    pub async fn snapshots_taken(&self, machine: &MachineId) -> u64 {
        self.state.lock().await.machines.get(machine).map_or(0, |record| record.snapshots_taken)
    }

    /// Whether a snapshot of a machine is currently open.
    pub async fn has_open_snapshot(&self, machine: &MachineId) -> bool {
        self.state.lock().await.snapshots.values().any(|snapshot| snapshot.machine == *machine)
    }

    /// Image files of a volume and all volumes below it, the volume's own first, with their
    /// formats.
    pub async fn files_of(&self, volume: &VolumeId) -> Vec<(Utf8PathBuf, Format)> {
        let state = self.state.lock().await;
        let chain = state.chain(volume);
        chain.iter().filter_map(|id| state.volumes.get(id)).map(|v| (v.path.clone(), v.format)).collect()
    }

    /// Every volume of the site with its file and format.
    pub async fn volume_files(&self) -> Vec<(VolumeId, Utf8PathBuf, Format)> {
        let state = self.state.lock().await;
        state.volumes.iter().map(|(id, v)| (id.clone(), v.path.clone(), v.format)).collect()
    }

    /// Path of a new volume: in the directory of its datastore, at sites that have datastores.
    pub(crate) fn new_path(&self, id: &VolumeId, format: Format) -> Result<Utf8PathBuf, PlatformError> {
        let mut dir = self.dir("volumes");
        if let Some(datastore) = self.components.datastore_of(id) {
            dir.push(datastore.0);
            std::fs::create_dir_all(&dir)
                .map_err(|error| self.refuse(Kind::Failed, format!("{dir}: {error}")))?;
        }
        Ok(dir.join(format!("{id}.{}", format.name())))
    }

    pub(crate) fn dir(&self, name: &str) -> Utf8PathBuf {
        let dir: &Utf8Path = &self.config.dir;
        dir.join(name)
    }

    pub(crate) fn unknown(&self, what: &str, id: &dyn std::fmt::Display) -> PlatformError {
        self.refuse(Kind::NotFound, format!("there is no {what} {id}"))
    }
}

#[async_trait]
impl Platform for StandInSite {
    async fn site(&self) -> Result<SiteView, PlatformError> {
        self.reachable()?;
        let profile = &self.config.profile;
        Ok(SiteView {
            id: self.config.id.clone(),
            kind: profile.kind,
            boot_drivers: profile.hardware.disk_drivers().into_iter().map(ToOwned::to_owned).collect(),
        })
    }

    async fn infrastructure(&self) -> Result<Vec<Component>, PlatformError> {
        self.reachable()?;
        Ok(self.components.all())
    }

    async fn connect_agent(
        &self,
        machine: &MachineId,
        process_server: Option<&ComponentId>,
    ) -> Result<(), PlatformError> {
        self.reachable()?;
        self.components.connect_agent(machine, process_server).map_err(self.denied())
    }

    async fn attach_to_master_target(
        &self,
        machine: &MachineId,
        master_target: &ComponentId,
    ) -> Result<(), PlatformError> {
        self.reachable()?;
        self.attach_disks(machine, Some(master_target)).await
    }

    async fn detach_from_master_target(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.attach_disks(machine, None).await
    }

    async fn merge_snapshots(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.merge_machine_snapshots(machine).await
    }

    async fn machine(&self, id: &MachineId) -> Result<MachineView, PlatformError> {
        self.reachable()?;
        self.components.check_manager().map_err(self.denied())?;
        let state = self.state.lock().await;
        let record = state.machines.get(id).ok_or_else(|| self.unknown("machine", id))?;
        self.show_machine(&state, record)
    }

    async fn machines(&self) -> Result<Vec<MachineView>, PlatformError> {
        self.reachable()?;
        self.components.check_manager().map_err(self.denied())?;
        let state = self.state.lock().await;
        state.machines.values().map(|record| self.show_machine(&state, record)).collect()
    }

    async fn create_machine(&self, spec: &MachineSpec) -> Result<MachineView, PlatformError> {
        self.reachable()?;
        self.must_have_hypervisor()?;
        self.add_machine(spec).await
    }

    async fn delete_machine(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.remove_machine(id).await
    }

    async fn start(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.components.check_start(id).map_err(self.denied())?;
        self.boot(id).await
    }

    async fn shut_down(&self, id: &MachineId, within: Millis) -> Result<(), PlatformError> {
        self.reachable()?;
        match self.running_boot(id).await? {
            None => Ok(()),
            Some(boot) if self.config.profile.tracking == TrackingMechanism::Agent => {
                self.ask_to_shut_down(&boot, within.into()).await
            }
            Some(boot) => boot.guest.shut_down(within.into()).await.map_err(self.failed("shut down")),
        }
    }

    async fn power_off(&self, id: &MachineId) -> Result<(), PlatformError> {
        self.reachable()?;
        match self.running_boot(id).await? {
            None => Ok(()),
            Some(boot) => boot.guest.power_cut().await.map(drop).map_err(self.failed("power off")),
        }
    }

    async fn open_snapshot(
        &self,
        machine: &MachineId,
        since: Option<&ChangeId>,
    ) -> Result<DiskSnapshot, PlatformError> {
        let _permit = self.snapshot_permit().await?;
        self.reachable()?;
        self.components.check_snapshot(machine).map_err(self.denied())?;
        self.take_snapshot(machine, since).await
    }

    async fn screenshot(&self, id: &MachineId) -> Result<Vec<u8>, PlatformError> {
        self.reachable()?;
        self.must_have_hypervisor()?;
        let boot = self.running_boot(id).await?;
        let off = || self.refuse(Kind::WrongPowerState, format!("machine {id} is off, so it has no screen"));
        let boot = boot.ok_or_else(off)?;
        let path = boot.dir.join("screenshot.png");
        boot.guest.screenshot(&path).await.map_err(self.failed("take a screenshot"))?;
        std::fs::read(&path).map_err(|error| self.refuse(Kind::Failed, format!("{path}: {error}")))
    }

    async fn open_snapshots(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let _permit = self.snapshot_permit().await?;
        self.reachable()?;
        for (machine, _) in &request.machines {
            self.components.check_snapshot(machine).map_err(self.denied())?;
        }
        self.take_snapshots(request).await
    }

    async fn close_snapshot(
        &self,
        snapshot: &SnapshotId,
        acknowledge: Acknowledge,
    ) -> Result<(), PlatformError> {
        self.reachable()?;
        self.drop_snapshot(snapshot, acknowledge).await
    }

    async fn stop_tracking(&self, machine: &MachineId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.forget_changes(machine).await
    }

    async fn volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.reachable()?;
        self.show_volume(id).await
    }

    async fn create_volume(
        &self,
        id: &VolumeId,
        size: Bytes,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.reachable()?;
        self.must_have_hypervisor()?;
        self.add_volume(id, size.0, datastore).await
    }

    async fn derive_volume(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.reachable()?;
        self.must_have_hypervisor()?;
        self.add_delta(id, parent).await
    }

    async fn merge_volumes(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.must_have_hypervisor()?;
        self.merge(top, base).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.remove_volume(id).await
    }

    async fn export_volume(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        self.reachable()?;
        self.must_have_hypervisor()?;
        self.open_export(id, access).await
    }

    async fn close_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        self.reachable()?;
        self.shut_export(id).await
    }

    async fn close_all(&self) -> Result<(), PlatformError> {
        self.reachable()?;
        let (snapshots, exports) = {
            let state = self.state.lock().await;
            let snapshots: Vec<_> = state.snapshots.keys().cloned().collect();
            let exports: Vec<_> = state.exports.keys().cloned().collect();
            (snapshots, exports)
        };
        for snapshot in snapshots {
            self.drop_snapshot(&snapshot, Acknowledge::Keep).await?;
        }
        for export in exports {
            self.shut_export(&export).await?;
        }
        Ok(())
    }
}
