//! Before the first edge: installs a machine on its source, boots it, and protects it.

use camino::Utf8Path;
use contract::{
    ComponentKind, DiskId, EnableProtection, Firmware, GroupId, GuestFacts, GuestOs, MachineId, MachineSpec,
    Network, NicSpec, Placement, Platform, Policy, TargetSettings, VolumeId,
};
use harness::machine;
use images::shape::{ORDINARY, Shape};
use standins::{Installed, StandInSite, TrackingMechanism};
use windows_volume::{StartType, WindowsVolume};

use crate::blame::ScenarioError;
use crate::hydration::KnownGuest;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::network_cards;
use crate::real::edge::recover::{start_load, wait_for_agent, wait_for_hello};
use crate::real::edge::recovery_point::wait_for_points;
use crate::real::machine::Running;
use crate::real::workload::{
    APP_CONSISTENT_EVERY, INTERVAL, MEMORY, MOST_POINTS, MOST_POINTS_WITH_APP_CONSISTENT, POLICY,
};
use crate::rules::ids::LC_01;
use crate::windows_disk;

/// The driver that does not start at boot on a Windows volume.
const LACKING: &str = "storvsc";

/// What is installed: the guest, and what its platform and agent say about it.
#[derive(Clone, Debug)]
pub(crate) struct InstallProfile {
    /// What is inside the guest.
    pub(crate) variant: images::Variant,
    /// The operating system by the platform's description. Every guest really runs Linux.
    pub(crate) os: GuestOs,
    /// What the agent reports about the guest.
    pub(crate) facts: GuestFacts,
    /// Subnet and address.
    pub(crate) placement: Placement,
    /// Network cards beside the first one.
    pub(crate) more_nics: Vec<NicSpec>,
    /// The Windows volume on the system disk, if it has one.
    pub(crate) windows: Option<WindowsVolume>,
}

impl InstallProfile {
    /// A Linux guest with the boot drivers of its own platform only.
    pub(crate) async fn native(site: &StandInSite) -> Result<Self, ScenarioError> {
        let variant = images::Variant {
            boot_drivers: site.site().await?.boot_drivers,
            agent: site.profile().tracking == TrackingMechanism::Agent,
            ..images::Variant::default()
        };
        let facts = GuestFacts::default();
        Ok(Self {
            variant,
            os: GuestOs::Linux,
            facts,
            placement: Placement::default(),
            more_nics: Vec::new(),
            windows: None,
        })
    }

    /// The machine with a Windows volume, on which a driver of the cloud does not start at boot, as
    /// its agent reports.
    pub(crate) fn with_windows(mut self) -> Self {
        let starts = vec![(LACKING.to_owned(), StartType::MANUAL)];
        self.os = GuestOs::Windows;
        self.facts.boot_drivers.retain(|driver| driver != LACKING);
        self.windows = Some(WindowsVolume { starts, current: 2, ..WindowsVolume::default() });
        self
    }

    /// The machine with two network cards.
    fn with_two_nics(self) -> Self {
        let (placement, more_nics) = network_cards::source_cards();
        Self { placement, more_nics, ..self.with(network_cards::set_up_guest) }
    }

    /// Changes the guest, and what its agent reports about services accordingly.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut images::Variant)) -> Self {
        change(&mut self.variant);
        self.facts.dhcp_service = self.variant.dhcp;
        self.facts.ssh_at_boot = self.variant.ssh;
        self
    }
}

/// Installs a native machine on the primary site, boots it and starts its load.
pub(crate) async fn boot_source(context: &ScenarioContext) -> Result<Running, ScenarioError> {
    let mut native = InstallProfile::native(&context.primary).await?;
    if context.scenario.two_nics {
        native = native.with_two_nics();
    }
    if !context.scenario.windows {
        return boot_source_as(context, &native).await;
    }
    // A machine goes back through a master target that runs its own operating system (RE-11).
    context.primary.components().alter("master-target", |component| {
        if let ComponentKind::MasterTarget(target) = &mut component.kind {
            target.os = GuestOs::Windows;
        }
    });
    boot_source_as(context, &native.with_windows()).await
}

/// Installs a machine with this profile on the primary site, boots it and starts its load.
pub(crate) async fn boot_source_as(
    context: &ScenarioContext,
    profile: &InstallProfile,
) -> Result<Running, ScenarioError> {
    let site = &context.primary;
    let step = context.evidence.step("", "install the machine");
    let dir = context.evidence.dir().join("install");
    install_as(site, &context.machine, (&context.image, context.shape), &dir, profile).await?;
    context.note_guest(KnownGuest { os: profile.os, facts: profile.facts.clone() });
    step.done();
    let step = context.evidence.step("", "boot the source");
    site.start(&context.machine).await?;
    let boot = site.boot_after(&context.machine, 0).await;
    wait_for_hello(context, &boot, BOOT_WITHIN).await?;
    let source = start_load(context, site.clone(), boot, 0).await?;
    wait_for_agent(&source).await?;
    step.done();
    network_cards::check_source(context, &source.boot).await?;
    context.trace(format!("source runs on {}", site.label()));
    Ok(source)
}

/// Installs a native machine on a site from the guest image. `dir` is for temporary files and is
/// removed.
pub(crate) async fn install(
    site: &StandInSite,
    machine: &MachineId,
    image: &images::Image,
    dir: &Utf8Path,
) -> Result<(), ScenarioError> {
    install_as(site, machine, (image, &ORDINARY), dir, &InstallProfile::native(site).await?).await
}

async fn install_as(
    site: &StandInSite,
    machine: &MachineId,
    (image, shape): (&images::Image, &Shape),
    dir: &Utf8Path,
    profile: &InstallProfile,
) -> Result<(), ScenarioError> {
    std::fs::create_dir_all(dir).map_err(harness::Error::file(dir))?;
    let shaped = images::disks(image, shape, &profile.variant, dir).map_err(harness::Error::from)?;
    if let (Some(windows), Some(system)) = (&profile.windows, shaped.first()) {
        windows_disk::add(&system.path, windows)?;
    }
    let disks =
        shaped.iter().map(|disk| (DiskId::from(disk.name), VolumeId(format!("{machine}-{}", disk.name))));
    let spec = MachineSpec {
        id: machine.clone(),
        firmware: match site.profile().hardware.firmware {
            machine::Firmware::Bios => Firmware::Bios,
            machine::Firmware::Uefi => Firmware::Uefi,
        },
        os: profile.os,
        memory: MEMORY,
        disks: disks.collect(),
        network: Network::Production,
        guest: profile.facts.clone(),
        placement: profile.placement.clone(),
        boot_entry: shape.boot_entry.map(ToOwned::to_owned),
        more_nics: profile.more_nics.clone(),
    };
    let images: Vec<_> = shaped.iter().map(|disk| disk.path.clone()).collect();
    site.install(&Installed { spec, images: &images }).await?;
    std::fs::remove_dir_all(dir).map_err(harness::Error::file(dir))?;
    Ok(())
}

/// Creates the policy, protects the machine, and waits until changes have become recovery points.
pub(crate) async fn protect(context: &ScenarioContext, source: &Running) -> Result<(), ScenarioError> {
    create_policy(context).await?;
    enable_protection(context, None).await?;
    wait_for_points(context, LC_01, "protect", source).await?;
    Ok(())
}

/// Creates the replication policy of the scenario's machines.
pub(crate) async fn create_policy(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let usual = Policy {
        most_points: Some(MOST_POINTS),
        ..Policy::for_machines_of(context.primary.profile().kind, INTERVAL)
    };
    let policy = match context.scenario.app_consistent {
        true => Policy {
            app_consistent_every: Some(APP_CONSISTENT_EVERY),
            most_points: Some(MOST_POINTS_WITH_APP_CONSISTENT),
            ..usual
        },
        false => usual,
    };
    Ok(context.core.create_policy(&POLICY.into(), &policy).await?)
}

/// Protects the machine, alone or in a replication group.
pub(crate) async fn enable_protection(
    context: &ScenarioContext,
    group: Option<GroupId>,
) -> Result<(), ScenarioError> {
    let target = TargetSettings::new(context.machine.clone(), MEMORY);
    let request = EnableProtection {
        item: context.item.clone(),
        primary: context.primary.site().await?.id,
        machine: context.machine.clone(),
        recovery: context.recovery.site().await?.id,
        target: if context.scenario.two_nics { network_cards::choose(target) } else { target },
        policy: POLICY.into(),
        group,
    };
    let job = context.core.enable_protection(&request).await?;
    context.follow("protect", &job).await?;
    context.trace_state().await
}
