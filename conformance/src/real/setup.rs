//! Before the first edge: a machine on the source, at work, and protected.

use camino::Utf8Path;
use contract::{
    Bytes, DiskId, EnableProtection, Firmware, GroupId, GuestFacts, GuestOs, MachineId, MachineSpec, Millis,
    Network, Placement, Platform, Policy, TargetSettings, VolumeId,
};
use harness::machine;
use standins::{Installed, StandInSite, Tracking};
use witness::protocol::Load;

use crate::blame::ScenarioError;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::say_hello;
use crate::real::machine::Running;

/// Time between two transfers.
pub(crate) const INTERVAL: Millis = Millis(1_000);
/// Name of the replication policy.
pub(crate) const POLICY: &str = "continuous";
/// Recovery points at most, or twice as many until they are merged away.
const MOST_POINTS: u32 = 8;
/// Memory of the machine.
pub(crate) const MEMORY: Bytes = Bytes(256 << 20);
/// Disks, in boot order.
pub(crate) const DISKS: [&str; 2] = ["system", "data"];

/// The work a witness does while it is protected.
pub(crate) fn load(epoch: u32) -> Load {
    Load {
        epoch,
        records_per_second: 25,
        churn_per_second: 10,
        churn_bytes: 16 * 1024,
        transfers_per_second: 5,
        seed: u64::from(epoch),
    }
}

/// What a machine is installed as.
#[derive(Clone, Debug)]
pub(crate) struct InstallProfile {
    /// What is in its guest.
    pub(crate) variant: images::Variant,
    /// Operating system by its platform's description; inside it is Linux always.
    pub(crate) os: GuestOs,
    /// What its agent tells of the guest.
    pub(crate) facts: GuestFacts,
    /// Where it is put.
    pub(crate) placement: Placement,
}

impl InstallProfile {
    /// A Linux machine with only its own platform's boot drivers.
    pub(crate) async fn native(site: &StandInSite) -> Result<Self, ScenarioError> {
        let variant = images::Variant {
            boot_drivers: site.site().await?.boot_drivers,
            agent: site.profile().tracking == Tracking::Agent,
            ..images::Variant::default()
        };
        let (facts, placement) = (GuestFacts::default(), Placement::default());
        Ok(Self { variant, os: GuestOs::Linux, facts, placement })
    }

    /// The same with another guest, of whose services its agent tells the truth.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut images::Variant)) -> Self {
        change(&mut self.variant);
        self.facts.dhcp_service = self.variant.dhcp;
        self.facts.ssh_at_boot = self.variant.ssh;
        self
    }
}

/// Installs the machine with only its own platform's boot driver, boots it and puts it to work.
pub(crate) async fn boot_source(world: &ScenarioContext) -> Result<Running, ScenarioError> {
    boot_source_as(world, &InstallProfile::native(&world.primary).await?).await
}

/// Installs the machine as described, boots it and puts it to work.
pub(crate) async fn boot_source_as(
    world: &ScenarioContext,
    guise: &InstallProfile,
) -> Result<Running, ScenarioError> {
    let step = world.evidence.step("", "install the machine");
    let dir = world.evidence.dir().join("install");
    install_as(&world.primary, &world.machine, &world.image, &dir, guise).await?;
    step.done();
    let step = world.evidence.step("", "boot the source");
    world.primary.start(&world.machine).await?;
    let boot = world.primary.boot_after(&world.machine, 0).await;
    say_hello(world, &boot, BOOT_WITHIN).await?;
    boot.guest.witness().start(&load(1)).await?;
    step.done();
    world.trace(format!("source runs on {}", world.primary.label()));
    Ok(Running { site: world.primary.clone(), boot, initial_record: 0 })
}

/// Makes `machine` on a site from the guest image, with only that site's boot drivers. `dir` is for what is needed on
/// the way.
pub(crate) async fn install(
    site: &StandInSite,
    machine: &MachineId,
    image: &images::Image,
    dir: &Utf8Path,
) -> Result<(), ScenarioError> {
    install_as(site, machine, image, dir, &InstallProfile::native(site).await?).await
}

async fn install_as(
    site: &StandInSite,
    machine: &MachineId,
    image: &images::Image,
    dir: &Utf8Path,
    guise: &InstallProfile,
) -> Result<(), ScenarioError> {
    std::fs::create_dir_all(dir).map_err(harness::Error::file(dir))?;
    let system = dir.join("system.raw");
    std::fs::copy(&image.system, &system).map_err(harness::Error::file(&system))?;
    let mut permissions = std::fs::metadata(&system).map_err(harness::Error::file(&system))?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&system, permissions).map_err(harness::Error::file(&system))?;
    images::customise(&system, &guise.variant).map_err(harness::Error::from)?;
    let disks = DISKS.map(|disk| (DiskId::from(disk), VolumeId(format!("{machine}-{disk}"))));
    let spec = MachineSpec {
        id: machine.clone(),
        firmware: match site.profile().hardware.firmware {
            machine::Firmware::Bios => Firmware::Bios,
            machine::Firmware::Uefi => Firmware::Uefi,
        },
        os: guise.os,
        memory: MEMORY,
        disks: disks.to_vec(),
        network: Network::Production,
        guest: guise.facts.clone(),
        placement: guise.placement.clone(),
    };
    let images = [system, image.data.clone()];
    site.install(&Installed { spec, images: &images }).await?;
    std::fs::remove_dir_all(dir).map_err(harness::Error::file(dir))?;
    Ok(())
}

/// Protects the machine and waits until changes, not only the first copy, have become points.
pub(crate) async fn protect(world: &ScenarioContext, source: &Running) -> Result<(), ScenarioError> {
    make_policy(world).await?;
    protect_in(world, None).await?;
    crate::real::edge::await_points(world, "protect", source).await?;
    Ok(())
}

/// Makes the policy of all machines.
pub(crate) async fn make_policy(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let policy = Policy {
        most_points: Some(MOST_POINTS),
        ..Policy::for_machines_of(world.primary.profile().kind, INTERVAL)
    };
    Ok(world.core.create_policy(&POLICY.into(), &policy).await?)
}

/// Begins to protect the machine, in a replication group or alone.
pub(crate) async fn protect_in(world: &ScenarioContext, group: Option<GroupId>) -> Result<(), ScenarioError> {
    let request = EnableProtection {
        item: world.item.clone(),
        primary: world.primary.site().await?.id,
        machine: world.machine.clone(),
        recovery: world.recovery.site().await?.id,
        target: TargetSettings::new(world.machine.clone(), MEMORY),
        policy: POLICY.into(),
        group,
    };
    let job = world.core.enable_protection(&request).await?;
    world.follow("protect", &job).await?;
    world.trace_state().await
}
