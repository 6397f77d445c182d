//! Hydration: machines that each lack one thing that the cloud needs come up there, because the
//! core repairs their target copy. Beside each, the stand-in boots the same recovery point without
//! the core, which shows what the repair was for.
//!
//! The drivers that the rules name are those of Windows, but every guest runs Linux. For IDE
//! (`intelide`) and SCSI (`storvsc`) the guest's own driver for that controller is really missing.
//! The other drivers are only reported by the agent; the simulated tier checks each of them.

use std::time::Duration;

use contract::{
    AgentVersion, GuestOs, JobView, MachineId, MachineSpec, Network, Operation, Placement, Platform,
    PointChoice, RecoveryPoint, VolumeId,
};
use harness::Error;
use images::layout::{LOADER_ENTRY, NO_ROOT_LINE, SYSLINUX_CFG, VARIANT_ENV};
use standins::Boot;
use tracing::Instrument as _;

use crate::blame::{KeptByCore, ScenarioError};
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::disk_pairs::first_difference;
use crate::real::edge::failover::{RecoveredAfterLoss, lose_site_and_fail_over};
use crate::real::edge::hydration_diff::{boot_partition, guest_settings, hydration_step};
use crate::real::edge::lifecycle::{Edge, JudgedRecovery};
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::{self, Recovered};
use crate::real::edge::recovery_point::wait_for_points;
use crate::real::machine::Running;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::setup::InstallProfile;
use crate::real::teardown;
use crate::rules::RuleId;
use crate::rules::ids::*;
use crate::service::first_sound_answer;

/// How long the suite waits at least for an answer of a guest without an address.
const SILENT_FOR: Duration = Duration::from_secs(10);
/// It also waits this many times as long as the repaired guest took to answer.
const SILENT_FACTOR: u32 = 5;

pub(crate) const SCRIPT: Script = Script {
    edges: || CASES.iter().map(|case| case.edge).collect(),
    repeatable: false,
    needs: &[Operation::UnplannedFailover, Operation::Commit],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

/// One machine.
struct Case {
    edge: EdgeName,
    machine: &'static str,
    source: &'static str,
    target: &'static str,
    /// Removes something from a machine that lacks nothing.
    take_away: fn(&mut InstallProfile),
    /// The rule by which hydration is due; `None` if it must not happen (HY-07).
    due: Option<RuleId>,
    /// The boot files that hydration may edit.
    editable: &'static [&'static str],
    /// What happens without hydration.
    without: WithoutHydration,
}

/// What happens when a recovery point is booted without hydration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WithoutHydration {
    /// The guest's kernel finds no root disk.
    NoRoot,
    /// The guest boots, but has no address.
    NoAddress,
    /// The guest serves: hydration is due because of its old agent, and finds nothing to do.
    Serves,
    /// Not tried: the core boots the machine without hydration.
    NotTried,
}

const CASES: [Case; 5] = [
    Case {
        edge: EdgeName::new("hydrate-ide", 6),
        machine: "no-ide",
        source: "vmware",
        target: "azure",
        take_away: |profile| remove_driver(profile, "ata_piix", "intelide"),
        due: Some(HY_06),
        editable: &[LOADER_ENTRY, SYSLINUX_CFG],
        without: WithoutHydration::NoRoot,
    },
    Case {
        edge: EdgeName::new("hydrate-scsi", 6),
        machine: "no-scsi",
        source: "vmware-uefi",
        target: "azure-gen2",
        take_away: |profile| remove_driver(profile, "virtio_scsi", "storvsc"),
        due: Some(HY_06),
        editable: &[LOADER_ENTRY, SYSLINUX_CFG],
        without: WithoutHydration::NoRoot,
    },
    Case {
        edge: EdgeName::new("hydrate-dhcp", 6),
        machine: "no-dhcp",
        source: "vmware",
        target: "azure",
        take_away: |profile| {
            profile.variant.dhcp = false;
            profile.facts.dhcp_service = false;
        },
        due: Some(HY_05),
        editable: &[VARIANT_ENV],
        without: WithoutHydration::NoAddress,
    },
    Case {
        edge: EdgeName::new("hydrate-old-agent", 6),
        machine: "old-agent",
        source: "vmware",
        target: "azure",
        take_away: |profile| install_agent(profile, AgentVersion(9, 7)),
        due: Some(HY_01),
        editable: &[],
        without: WithoutHydration::Serves,
    },
    Case {
        edge: EdgeName::new("hydrate-nothing", 6),
        machine: "ready",
        source: "vmware",
        target: "azure",
        take_away: |_| (),
        due: None,
        editable: &[],
        without: WithoutHydration::NotTried,
    },
];

/// Removes a driver from the guest, and the one that stands for it from the agent's report.
fn remove_driver(profile: &mut InstallProfile, in_guest: &str, reported: &str) {
    profile.variant.boot_drivers.retain(|driver| driver != in_guest);
    profile.facts.boot_drivers.retain(|driver| driver != reported);
}

fn install_agent(profile: &mut InstallProfile, version: AgentVersion) {
    profile.variant.agent_version = version.to_string();
    profile.facts.agent = version;
}

/// A machine for which hydration is not due: reported as Windows, with a current agent and the
/// drivers of both sites.
async fn lacking_nothing(context: &ScenarioContext) -> Result<InstallProfile, ScenarioError> {
    let mut profile = InstallProfile::native(&context.primary).await?;
    profile.os = GuestOs::Windows;
    profile.variant.boot_drivers.extend(context.recovery.site().await?.boot_drivers);
    install_agent(&mut profile, AgentVersion::WITHOUT_HYDRATION);
    Ok(profile)
}

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    setup::create_policy(context).await?;
    for case in &CASES {
        let machine = context.for_pair(case.source, case.target, case.machine)?;
        let result = run_case(&machine, case).await;
        context.merge_findings(&machine);
        result?;
        context.inspect_disks(&machine.recovery, case.edge.as_str()).await?;
    }
    context.check_inspected_disks();
    Ok(())
}

/// One machine, from its installation to its end.
async fn run_case(context: &ScenarioContext, case: &Case) -> Result<(), ScenarioError> {
    let mut profile = lacking_nothing(context).await?;
    (case.take_away)(&mut profile);
    let source = setup::boot_source_as(context, &profile).await?;
    ensure_installed(context, &source, &profile).await?;
    setup::enable_protection(context, None).await?;
    wait_for_points(context, LC_01, case.edge.as_str(), &source).await?;
    let edge = Edge::begin(context, case.edge, &source);
    let recovered = fail_over(edge, case).instrument(edge.span()).await?;
    let running = recover::put_to_work(context, &recovered).await?;
    context.primary.restore();
    let job = context.core.commit(&context.item).await?;
    context.follow(case.edge.as_str(), &job).await?;
    teardown::retire(context, &running).await
}

/// A guest that differs from its profile would prove nothing about hydration.
async fn ensure_installed(
    context: &ScenarioContext,
    source: &Running,
    profile: &InstallProfile,
) -> Result<(), ScenarioError> {
    let hello = recover::describe_again(&source.boot.guest).await?;
    let mut wanted = profile.variant.boot_drivers.clone();
    let mut loaded = hello.boot_drivers;
    wanted.sort();
    loaded.sort();
    let version = &profile.variant.agent_version;
    if loaded != wanted || hello.agent_version != *version {
        return Err(ScenarioError::Inconclusive(format!(
            "{} loaded {loaded:?} and runs agent {}; it was installed with {wanted:?} and agent {version}",
            context.machine, hello.agent_version
        )));
    }
    Ok(())
}

async fn fail_over(edge: Edge<'_>, case: &Case) -> Result<Recovered, ScenarioError> {
    let context = edge.context();
    let failed_over = lose_site_and_fail_over(edge, PointChoice::LatestProcessed).await?;
    let RecoveredAfterLoss { point, judged } = failed_over;
    check_step(context, case, &judged.recovered.job);
    check_address(context, case, &judged.recovered.boot).await?;
    check_edits(edge, case, &judged)?;
    let listen = SILENT_FOR.max(judged.recovered.time_to_answer() * SILENT_FACTOR);
    boot_without_hydration(context, case, &point, listen).await?;
    edge.finish(judged)
}

/// HY-01 to HY-07, HY-09: the job has a timed hydration step if the machine lacks something, and
/// only then.
fn check_step(context: &ScenarioContext, case: &Case, job: &JobView) {
    let step = hydration_step(job);
    let Some(rule) = case.due else {
        let found = format!("{} lacks nothing; hydrated: {}", context.machine, step.is_some());
        return context.check(HY_07, step.is_none(), found);
    };
    let note = step.map_or("absent", |step| &step.note);
    let found = format!("{}: the extra step: {note}", context.machine);
    context.check(rule, step.is_some(), found.clone());
    context.check(HY_09, step.is_some_and(|step| step.took.is_some()), found);
}

/// The recovered machine got its address from the target's network, by the rule of the case.
async fn check_address(context: &ScenarioContext, case: &Case, boot: &Boot) -> Result<(), ScenarioError> {
    let nics = recover::describe_again(&boot.guest).await?.nics;
    let range = context.recovery.profile().range;
    let in_range = |address: &str| address.parse().is_ok_and(|address| range.contains(address));
    let addressed = !nics.is_empty() && nics.iter().all(|nic| in_range(&nic.address));
    let found = format!("{} on the target: {nics:?}", context.machine);
    context.check(case.due.unwrap_or(HY_07), addressed, found);
    Ok(())
}

/// HY-08: hydration edited the target copy where it may and nowhere else. The recovery point's
/// boot partition is still that of the source, which no guest ever writes.
fn check_edits(edge: Edge<'_>, case: &Case, judged: &JudgedRecovery) -> Result<(), ScenarioError> {
    let context = edge.context();
    let machine = &context.machine;
    let mut edited = judged.edited.clone();
    edited.sort();
    // A core may leave out a file that the target's firmware does not read: the machine boots.
    let allowed = edited.iter().all(|file| case.editable.contains(&file.as_str()));
    context.check(HY_08, allowed, format!("{machine}: hydration edited {edited:?}"));
    let installed = &edge.source().boot.disks[0].base;
    let point = &judged.point[0].raw;
    let difference = first_difference(installed, point, boot_partition())?;
    let found = format!("{machine}: the point's boot partition differs from the source's at {difference:?}");
    context.check(HY_08, difference.is_none(), found);
    let before = guest_settings(installed)?;
    let after = guest_settings(&judged.recovered.boot.disks[0].base)?;
    let found = format!("{machine}: settings {before:?} became {after:?}");
    context.check(HY_08, after == before.replace("DHCP=no", "DHCP=yes"), found);
    Ok(())
}

/// The control experiment: the stand-in boots the recovery point without the core, and the suite
/// observes what the missing hydration causes.
async fn boot_without_hydration(
    context: &ScenarioContext,
    case: &Case,
    point: &RecoveryPoint,
    listen: Duration,
) -> Result<(), ScenarioError> {
    if case.without == WithoutHydration::NotTried {
        return Ok(());
    }
    let step = context.evidence.step(case.edge.as_str(), "the same point without hydration");
    let machine = MachineId(format!("{}-control", context.machine));
    let site = &context.recovery;
    let mut disks = Vec::new();
    for (disk, volume) in &point.volumes {
        let name = VolumeId(format!("{machine}-{disk}"));
        site.derive_volume(&name, volume).await.kept_by_core("the recovery point until commit")?;
        disks.push((disk.clone(), name));
    }
    let hydrated = site.machine(&context.machine).await?;
    let spec = MachineSpec {
        id: machine.clone(),
        firmware: hydrated.firmware,
        os: hydrated.os,
        memory: hydrated.memory,
        disks: disks.clone(),
        network: Network::Production,
        guest: hydrated.guest,
        placement: Placement::default(),
        boot_entry: None,
        more_nics: Vec::new(),
    };
    site.create_machine(&spec).await?;
    site.start(&machine).await?;
    let boot = site.boot_after(&machine, 0).await;
    let found = observe_without_hydration(case, &boot, listen).await?;
    context.trace(format!("{}: without hydration {found}", case.edge));
    context.check(HY_08, true, format!("{machine}: {found}"));
    site.power_off(&machine).await?;
    site.delete_machine(&machine).await?;
    for (_, volume) in &disks {
        site.delete_volume(volume).await?;
    }
    step.done();
    Ok(())
}

/// Observes a machine that was booted without hydration. If it behaves otherwise than expected, the
/// case is inconclusive, because the core had no part in this boot.
async fn observe_without_hydration(
    case: &Case,
    boot: &Boot,
    listen: Duration,
) -> Result<String, ScenarioError> {
    let unexpected =
        |what: &str| ScenarioError::Inconclusive(format!("{}: the copy without hydration {what}", case.edge));
    let guest = &boot.guest;
    let up = guest.ready(BOOT_WITHIN).await;
    if case.without == WithoutHydration::NoRoot {
        return match up {
            Err(Error::Died { last_words, .. }) if last_words.contains(NO_ROOT_LINE) => Ok(last_words),
            Err(other) => Err(unexpected(&format!("ended otherwise: {other}"))),
            Ok(_) => Err(unexpected("came up: no driver is missing in it")),
        };
    }
    up?;
    let listen = if case.without == WithoutHydration::NoAddress { listen } else { BOOT_WITHIN };
    match (case.without, first_sound_answer(guest, listen).await) {
        (WithoutHydration::NoAddress, Err(Error::TimedOut { .. })) => {
            let nics = recover::describe_again(guest).await?.nics;
            if nics.is_empty() || nics.iter().any(|nic| !nic.address.is_empty()) {
                return Err(unexpected(&format!("has an address: {nics:?}")));
            }
            Ok("it boots, has no address and answers nobody".to_owned())
        }
        (WithoutHydration::Serves, Ok(_)) => Ok("it serves: nothing was lacking".to_owned()),
        (_, Ok(_)) => Err(unexpected("serves")),
        (_, Err(error)) => Err(unexpected(&format!("does not serve: {error}"))),
    }
}
