//! Two stand-in sites with the built-in core between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use contract::{
    Bytes, DiskId, EnableProtection, Firmware, GuestFacts, GuestOs, ItemId, JobId, JobState, MachineId,
    MachineSpec, Millis, Network, Placement, Platform, PlatformKind, Policy, PolicyId, ReplicationCore,
    SiteId, TargetSettings, VolumeId,
};
use harness::host::Host;
use harness::machine::Accelerator;
use harness::scratch::Scratch;
use standins::{Installed, Profile, SiteConfig, StandInSite, profile};

use crate::core_under_test::{self, CoreClock, CoreParts};
use crate::mutants::InjectedFault;

/// The only disk of each machine.
pub(super) const DISK: &str = "data";
/// Time bound of a job.
const JOB_WITHIN: Duration = Duration::from_secs(600);
/// Memory of a machine. No system ever runs in it.
const MEMORY: Bytes = Bytes(64 << 20);
/// Most recovery points of a machine; there may be twice as many until they are merged.
const MOST_POINTS: u32 = 8;

/// Two regions of the Azure stand-in. Both keep disks as qcow2, the format that all contestants
/// write.
pub(super) struct Pair {
    pub(super) source: Arc<StandInSite>,
    pub(super) target: Arc<StandInSite>,
    pub(super) core: Arc<dyn ReplicationCore>,
    dir: Utf8PathBuf,
}

impl Pair {
    pub(super) async fn open(host: &Host, dir: &Utf8Path) -> Result<Self> {
        let scratch = Arc::new(Scratch::new("bench")?);
        let source = open_site(host, &scratch, dir, "azure", profile::azure()).await?;
        let target = open_site(host, &scratch, dir, "azure-west", profile::azure_west()).await?;
        let sites = [("azure", &source), ("azure-west", &target)];
        let platforms =
            sites.map(|(name, site)| (SiteId::from(name), Arc::clone(site) as Arc<dyn Platform>)).into();
        let dir_of_core = dir.join("core").into_std_path_buf();
        let parts = CoreParts { platforms, dir: dir_of_core, clock: CoreClock::System, log: None };
        let core = core_under_test::open(parts, &InjectedFault::default())?;
        Ok(Self { source, target, core, dir: dir.to_owned() })
    }

    /// Installs a powered-off machine on the source; its disk has the content of a raw image.
    pub(super) async fn install(&self, name: &str, image: &Utf8Path) -> Result<MachineId> {
        let id = MachineId::from(name);
        let spec = MachineSpec {
            id: id.clone(),
            firmware: Firmware::Bios,
            os: GuestOs::Linux,
            memory: MEMORY,
            disks: vec![(DiskId::from(DISK), volume_of(&id))],
            network: Network::Production,
            guest: GuestFacts::default(),
            placement: Placement::default(),
            boot_entry: None,
            more_nics: Vec::new(),
        };
        self.source.install(&Installed { spec, images: &[image.to_owned()] }).await?;
        Ok(id)
    }

    /// Creates a policy for machines of the source.
    pub(super) async fn policy(&self, id: &str, interval: Millis) -> Result<()> {
        let policy = Policy {
            // No system runs whose applications could be quiesced.
            app_consistent_every: None,
            most_points: Some(MOST_POINTS),
            ..Policy::for_machines_of(PlatformKind::Azure, interval)
        };
        Ok(self.core.create_policy(&PolicyId::from(id), &policy).await?)
    }

    /// Protects a machine and returns the time from the request to the end of the job.
    pub(super) async fn protect(&self, machine: &MachineId, policy: &str) -> Result<(ItemId, Duration)> {
        let item = ItemId(format!("item-{machine}"));
        let request = EnableProtection {
            item: item.clone(),
            primary: self.source.site().await?.id,
            machine: machine.clone(),
            recovery: self.target.site().await?.id,
            target: TargetSettings::new(machine.clone(), MEMORY),
            policy: PolicyId::from(policy),
            group: None,
        };
        let began = Instant::now();
        let job = self.core.enable_protection(&request).await?;
        self.completed(&job).await?;
        Ok((item, began.elapsed()))
    }

    /// Ends protection, which deletes the replica.
    pub(super) async fn unprotect(&self, item: &ItemId) -> Result<()> {
        let job = self.core.disable_protection(item).await?;
        self.completed(&job).await
    }

    async fn completed(&self, job: &JobId) -> Result<()> {
        let follow = async {
            let mut view = self.core.job(job).await?;
            while !view.state.ended() {
                view = self.core.watch_job(job, view.revision).await?;
            }
            Ok::<_, contract::CoreError>(view)
        };
        let ended = tokio::time::timeout(JOB_WITHIN, follow).await;
        let view = ended.map_err(|_| anyhow!("job {job} did not end within {JOB_WITHIN:?}"))??;
        let why = view.error.map(|error| error.message).unwrap_or_default();
        ensure!(view.state == JobState::Completed, "job {job} ended as {:?}: {why}", view.state);
        Ok(())
    }

    /// The image file of a volume without a backing file.
    pub(super) async fn file(site: &StandInSite, volume: &VolumeId) -> Result<Utf8PathBuf> {
        let files = site.files_of(volume).await;
        files.into_iter().next().map(|(path, _)| path).with_context(|| format!("there is no volume {volume}"))
    }

    /// The path for a file of the benchmark, on the measured disk.
    pub(super) fn path(&self, name: &str) -> Utf8PathBuf {
        self.dir.join(name)
    }

    /// Stops the core, and then both sites with all their machines.
    pub(super) async fn close(&self) -> Result<()> {
        let core = self.core.close().await;
        let source = self.source.close().await;
        let target = self.target.close().await;
        core?;
        Ok(source.and(target)?)
    }
}

/// The volume of a machine's disk.
pub(super) fn volume_of(machine: &MachineId) -> VolumeId {
    VolumeId(format!("{machine}-{DISK}"))
}

async fn open_site(
    host: &Host,
    scratch: &Arc<Scratch>,
    dir: &Utf8Path,
    name: &str,
    profile: Profile,
) -> Result<Arc<StandInSite>> {
    let config = SiteConfig {
        id: SiteId::from(name),
        profile,
        host: host.clone(),
        // These machines get no further than their firmware, which any accelerator runs.
        accelerator: Accelerator::Tcg,
        enlightenments: Err("machines of the benchmark run no system".to_owned()),
        // No oracle judges these machines.
        log_writes: false,
        scratch: Arc::clone(scratch),
        dir: dir.join("sites").join(name),
    };
    Ok(StandInSite::open(config).await?)
}
