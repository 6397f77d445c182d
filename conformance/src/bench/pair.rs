//! Two sites and the built-in core between them.

use std::collections::BTreeMap;
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

/// The one disk of each machine.
pub(super) const DISK: &str = "data";
/// How long a job may take before something is wrong.
const JOB_WITHIN: Duration = Duration::from_secs(600);
/// Memory of machines; no system ever runs in them.
const MEMORY: Bytes = Bytes(64 << 20);
/// Recovery points at most, or twice as many until they are merged away.
const MOST_POINTS: u32 = 8;

/// Two regions of the Azure stand-in: both keep disks as qcow2, which every peer writes too.
pub(super) struct Pair {
    pub(super) source: Arc<StandInSite>,
    pub(super) target: Arc<StandInSite>,
    pub(super) core: replication::Core,
    dir: Utf8PathBuf,
}

impl Pair {
    pub(super) async fn open(host: &Host, dir: &Utf8Path) -> Result<Self> {
        let scratch = Arc::new(Scratch::new("bench")?);
        let source = open_site(host, &scratch, dir, "azure", profile::azure()).await?;
        let target = open_site(host, &scratch, dir, "azure-west", profile::azure_west()).await?;
        let sites = [("azure", &source), ("azure-west", &target)];
        let platforms: BTreeMap<_, _> =
            sites.map(|(name, site)| (SiteId::from(name), Arc::clone(site) as Arc<dyn Platform>)).into();
        let dir = dir.to_owned();
        let core = dir.join("core").into_std_path_buf();
        let core = replication::Core::open(replication::Config {
            platforms,
            dir: core,
            fault_hook: None,
            clock: replication::Clock::system(),
        })?;
        Ok(Self { source, target, core, dir })
    }

    /// A machine at rest on the source, whose only disk holds what the raw image does.
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
        };
        self.source.install(&Installed { spec, images: &[image.to_owned()] }).await?;
        Ok(id)
    }

    /// Makes a policy for machines of the source.
    pub(super) async fn policy(&self, id: &str, interval: Millis) -> Result<()> {
        let policy = Policy {
            // No system runs whose applications could be at rest.
            app_consistent_every: None,
            most_points: Some(MOST_POINTS),
            ..Policy::for_machines_of(PlatformKind::Azure, interval)
        };
        Ok(self.core.create_policy(&PolicyId::from(id), &policy).await?)
    }

    /// Protects a machine and returns how long that took, from the request to the end of the job.
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

    /// Ends protection; the replica is deleted.
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

    /// The image file of a volume; it has no other below it.
    pub(super) async fn file(site: &StandInSite, volume: &VolumeId) -> Result<Utf8PathBuf> {
        let files = site.files_of(volume).await;
        files.into_iter().next().map(|(path, _)| path).with_context(|| format!("there is no volume {volume}"))
    }

    /// A path for a file of the bench's own, on the same disk.
    pub(super) fn path(&self, name: &str) -> Utf8PathBuf {
        self.dir.join(name)
    }

    /// Stops the core, then both sites with all their machines.
    pub(super) async fn close(&self) -> Result<()> {
        let core = self.core.close().await;
        let source = self.source.close().await;
        let target = self.target.close().await;
        core?;
        Ok(source.and(target)?)
    }
}

/// The volume a machine's disk lies on.
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
        // Machines of the bench get no further than their firmware, which any accelerator runs.
        accelerator: Accelerator::Tcg,
        enlightenments: Err("machines of the bench run no system".to_owned()),
        // No oracle judges here.
        log_writes: false,
        scratch: Arc::clone(scratch),
        dir: dir.join("sites").join(name),
    };
    Ok(StandInSite::open(config).await?)
}
