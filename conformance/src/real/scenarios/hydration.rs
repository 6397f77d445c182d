//! Hydration: machines that each lack one thing the cloud needs come up there all the same, because their copy is
//! repaired. Beside each, the same recovery point is booted as it is, below the core, and shows what the repair was for.
//!
//! The drivers that rules name are Windows'; inside every guest is Linux. Of IDE (`intelide`) and SCSI (`storvsc`) the
//! lack is real: the guest's own driver for that controller is missing. What a machine tells of the others is an
//! attribute, and the simulated tests walk them one by one.

use std::time::Duration;

use camino::Utf8Path;
use contract::{
    AgentVersion, GuestOs, JobView, MachineId, MachineSpec, Network, Placement, Platform, PointChoice,
    RecoveryPoint, VolumeId,
};
use harness::Error;
use harness::oracle::{self, RawSource};
use images::layout::{LOADER_ENTRY, NO_ROOT_LINE, SYSLINUX_CFG, VARIANT_ENV};
use standins::Boot;

use crate::blame::ScenarioError;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge;
use crate::real::edge::failover;
use crate::real::edge::failover::edits;
use crate::real::edge::{PointFiles, Recovered, boot_partition};
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::setup::InstallProfile;
use crate::real::teardown as finish;
use crate::rules::ids::*;
use crate::service::first_sound_answer;

/// How long a guest that asks for no address is listened to, at least, and how many times what the repaired one took.
const SILENT_FOR: (Duration, u32) = (Duration::from_secs(10), 5);

/// One machine.
struct Case {
    edge: &'static str,
    machine: &'static str,
    source: &'static str,
    target: &'static str,
    /// Takes something away from a machine that lacks nothing.
    take_away: fn(&mut InstallProfile),
    /// The rule by which the step is due; `None`: it must be absent (HY-07).
    due: Option<RuleId>,
    /// What the step edits, and nothing else.
    edited: &'static [&'static str],
    /// What becomes of the copy without the step.
    without: Without,
}

/// What becomes of a copy that is booted as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// Its kernel finds no root disk.
    NoRoot,
    /// It boots and nobody can reach it.
    NoAddress,
    /// It serves: the step is due by the machine's age, and finds nothing to do.
    Serves,
    /// The core itself boots it so.
    Same,
}

const CASES: [Case; 5] = [
    Case {
        edge: "hydrate-ide",
        machine: "no-ide",
        source: "vmware",
        target: "azure",
        take_away: |guise| lose_driver(guise, "ata_piix", "intelide"),
        due: Some(HY_06),
        edited: &[LOADER_ENTRY, SYSLINUX_CFG],
        without: Without::NoRoot,
    },
    Case {
        edge: "hydrate-scsi",
        machine: "no-scsi",
        source: "vmware-uefi",
        target: "azure-gen2",
        take_away: |guise| lose_driver(guise, "virtio_scsi", "storvsc"),
        due: Some(HY_06),
        edited: &[LOADER_ENTRY, SYSLINUX_CFG],
        without: Without::NoRoot,
    },
    Case {
        edge: "hydrate-dhcp",
        machine: "no-dhcp",
        source: "vmware",
        target: "azure",
        take_away: |guise| (guise.variant.dhcp, guise.facts.dhcp_service) = (false, false),
        due: Some(HY_05),
        edited: &[VARIANT_ENV],
        without: Without::NoAddress,
    },
    Case {
        edge: "hydrate-old-agent",
        machine: "old-agent",
        source: "vmware",
        target: "azure",
        take_away: |guise| run_agent(guise, AgentVersion(9, 7)),
        due: Some(HY_01),
        edited: &[],
        without: Without::Serves,
    },
    Case {
        edge: "hydrate-nothing",
        machine: "ready",
        source: "vmware",
        target: "azure",
        take_away: |_| (),
        due: None,
        edited: &[],
        without: Without::Same,
    },
];

fn lose_driver(guise: &mut InstallProfile, inside: &str, told: &str) {
    guise.variant.boot_drivers.retain(|driver| driver != inside);
    guise.facts.boot_drivers.retain(|driver| driver != told);
}

fn run_agent(guise: &mut InstallProfile, version: AgentVersion) {
    guise.variant.agent_version = version.to_string();
    guise.facts.agent = version;
}

/// A machine to whose copy nothing is to be added: not Linux by description, a current agent, and drivers of both sides.
async fn lacking_nothing(world: &ScenarioContext) -> Result<InstallProfile, ScenarioError> {
    let mut guise = InstallProfile::native(&world.primary).await?;
    guise.os = GuestOs::Windows;
    guise.variant.boot_drivers.extend(world.recovery.site().await?.boot_drivers);
    run_agent(&mut guise, AgentVersion::WITHOUT_HYDRATION);
    Ok(guise)
}

pub(crate) async fn walk(world: &ScenarioContext) -> Result<(), ScenarioError> {
    setup::make_policy(world).await?;
    for case in &CASES {
        let machine = world.between(case.source, case.target, case.machine)?;
        let shown = show(&machine, case).await;
        world.merge_findings(&machine);
        shown?;
        world.inspect_disks(&machine.recovery, case.edge).await?;
    }
    world.expect_whole_disks();
    Ok(())
}

/// One machine from its installation to its end.
async fn show(world: &ScenarioContext, case: &Case) -> Result<(), ScenarioError> {
    let mut guise = lacking_nothing(world).await?;
    (case.take_away)(&mut guise);
    let source = setup::boot_source_as(world, &guise).await?;
    as_described(world, &source, &guise).await?;
    setup::protect_in(world, None).await?;
    edge::await_points(world, case.edge, &source).await?;
    let recovered = fail_over(world, case, &source).await?;
    let running = edge::put_to_work(world, &world.recovery, &recovered).await?;
    world.primary.restore();
    let job = world.core.commit(&world.item).await?;
    world.follow(case.edge, &job).await?;
    finish::retire(world, &running).await
}

/// A variant that is not what it is called would prove nothing.
async fn as_described(
    world: &ScenarioContext,
    source: &Running,
    guise: &InstallProfile,
) -> Result<(), ScenarioError> {
    let hello = source.boot.guest.witness().hello_again().await?;
    let mut wanted = guise.variant.boot_drivers.clone();
    let mut loaded = hello.boot_drivers;
    wanted.sort();
    loaded.sort();
    if loaded != wanted || hello.agent_version != guise.variant.agent_version {
        let text = format!("{} loaded {loaded:?} and runs agent {}", world.machine, hello.agent_version);
        return Err(ScenarioError::Inconclusive(format!(
            "{text}; it was made with {wanted:?} and another version"
        )));
    }
    Ok(())
}

async fn fail_over(
    world: &ScenarioContext,
    case: &Case,
    source: &Running,
) -> Result<Recovered, ScenarioError> {
    let struck =
        failover::lose_site_and_fail_over(world, case.edge, source, PointChoice::LatestProcessed).await?;
    check_step(world, case, &struck.recovered.job).await;
    has_address(world, case, &struck.recovered.boot).await?;
    check_repair(world, case, (source, &struck.recovered.boot), &struck.files).await?;
    let listen = SILENT_FOR.0.max(struck.recovered.answered_in() * SILENT_FOR.1);
    control(world, case, &struck.point, listen).await?;
    struck.conclude(world, case.edge).await
}

/// HY-01 to HY-07, HY-09: the step is in the job, with its time, where the machine lacks something, and only there.
async fn check_step(world: &ScenarioContext, case: &Case, job: &JobView) {
    let step = job.steps.iter().find(|step| step.name == "hydrate");
    let Some(rule) = case.due else {
        let found = format!("{} lacks nothing; hydrated: {}", world.machine, step.is_some());
        return world.check(HY_07, step.is_none(), found);
    };
    let told = step.map_or("absent", |step| &step.note);
    let found = format!("{}: the extra step: {told}", world.machine);
    world.check(rule, step.is_some(), found.clone());
    world.check(HY_09, step.is_some_and(|step| step.took.is_some()), found);
}

/// The recovered machine got its address from the target's network.
async fn has_address(world: &ScenarioContext, case: &Case, boot: &Boot) -> Result<(), ScenarioError> {
    let hello = boot.guest.witness().hello_again().await?;
    let range = world.recovery.profile().range;
    let in_range = |address: &str| address.parse().is_ok_and(|address| range.contains(address));
    let addressed = !hello.nics.is_empty() && hello.nics.iter().all(|nic| in_range(&nic.address));
    let found = format!("{} on the target: {:?}", world.machine, hello.nics);
    world.check(case.due.unwrap_or(HY_07), addressed, found);
    Ok(())
}

/// HY-08: the copy was edited where it had to be and nowhere else; the point's own boot partition is the source's, which
/// no guest ever writes.
async fn check_repair(
    world: &ScenarioContext,
    case: &Case,
    (source, target): (&Running, &Boot),
    points: &[PointFiles],
) -> Result<(), ScenarioError> {
    let mut edited = edits(world, target, points).await?;
    edited.sort();
    let found = format!("{}: hydration edited {edited:?}", world.machine);
    world.check(HY_08, edited == case.edited, found);
    let open = |path: &Utf8Path| RawSource::open(path.as_std_path()).map_err(anyhow::Error::from);
    let (installed, point) = (open(&source.boot.disks[0].base)?, open(&points[0].read)?);
    let stray = oracle::compare_range(&installed, &point, boot_partition()).map_err(anyhow::Error::from)?;
    let found =
        format!("{}: the point's boot partition differs from the source's at {stray:?}", world.machine);
    world.check(HY_08, stray.is_none(), found);
    let settings = |disk: &Utf8Path| images::read_boot_file(disk, VARIANT_ENV).map_err(Error::from);
    let (was, is) = (settings(&source.boot.disks[0].base)?, settings(&target.disks[0].base)?);
    let (was, is) = (String::from_utf8_lossy(&was), String::from_utf8_lossy(&is));
    let found = format!("{}: settings {was:?} became {is:?}", world.machine);
    world.check(HY_08, is == was.replace("DHCP=no", "DHCP=yes"), found);
    Ok(())
}

/// Boots the point as it is, by the stand-in alone, and watches it fail.
async fn control(
    world: &ScenarioContext,
    case: &Case,
    point: &RecoveryPoint,
    listen: Duration,
) -> Result<(), ScenarioError> {
    if case.without == Without::Same {
        return Ok(());
    }
    let step = world.evidence.step(case.edge, "the same point without hydration");
    let machine = MachineId(format!("{}-control", world.machine));
    let site = &world.recovery;
    let mut disks = Vec::new();
    for (disk, volume) in &point.volumes {
        let name = VolumeId(format!("{machine}-{disk}"));
        site.derive_volume(&name, volume).await?;
        disks.push((disk.clone(), name));
    }
    let like = site.machine(&world.machine).await?;
    let spec = MachineSpec {
        id: machine.clone(),
        firmware: like.firmware,
        os: like.os,
        memory: like.memory,
        disks: disks.clone(),
        network: Network::Production,
        guest: like.guest,
        placement: Placement::default(),
    };
    site.create_machine(&spec).await?;
    site.start(&machine).await?;
    let boot = site.boot_after(&machine, 0).await;
    let found = watch(case, &boot, listen).await?;
    world.trace(format!("{}: without hydration {found}", case.edge));
    world.check(HY_08, true, format!("{machine}: {found}"));
    site.power_off(&machine).await?;
    site.delete_machine(&machine).await?;
    for (_, volume) in &disks {
        site.delete_volume(volume).await?;
    }
    step.done();
    Ok(())
}

/// What a copy that was not repaired does. One that does something else than it should makes the case void: it says
/// nothing of the core.
async fn watch(case: &Case, boot: &Boot, listen: Duration) -> Result<String, ScenarioError> {
    let void =
        |what: &str| ScenarioError::Inconclusive(format!("{}: the copy without hydration {what}", case.edge));
    let guest = &boot.guest;
    let up = guest.ready(BOOT_WITHIN).await;
    if case.without == Without::NoRoot {
        return match up {
            Err(Error::Died { last_words, .. }) if last_words.contains(NO_ROOT_LINE) => Ok(last_words),
            Err(other) => Err(void(&format!("ended otherwise: {other}"))),
            Ok(_) => Err(void("came up: its drivers are not what it was to lack")),
        };
    }
    up?;
    let listen = if case.without == Without::NoAddress { listen } else { BOOT_WITHIN };
    match (case.without, first_sound_answer(guest, listen).await) {
        (Without::NoAddress, Err(Error::TimedOut { .. })) => {
            let nics = guest.witness().hello_again().await?.nics;
            if nics.is_empty() || nics.iter().any(|nic| !nic.address.is_empty()) {
                return Err(void(&format!("has an address: {nics:?}")));
            }
            Ok("it boots, has no address and answers nobody".to_owned())
        }
        (Without::Serves, Ok(_)) => Ok("it serves: nothing was lacking".to_owned()),
        (_, Ok(_)) => Err(void("serves")),
        (_, Err(error)) => Err(void(&format!("does not serve: {error}"))),
    }
}
