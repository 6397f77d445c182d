//! Networks: a machine with a static address comes up in the cloud at a chosen address, and can be
//! reached exactly where the security rules allow it.
//!
//! The stand-in enforces the rules: a denied connection is refused, because nothing listens. If the
//! stand-in lets in what its rules deny, the run is inconclusive. The scenario first logs in to the
//! source, so that a login that fails later is not the image's fault. The guest's own firewall
//! refuses SSH at each boot, until the scenario opens it.

mod addresses;
mod own_firewall;
mod ssh_disabled;
mod ssh_probe;
mod test_failover;

use contract::{Decision, IssueClass, ItemView, Operation, Placement, Platform, PowerState, TargetSettings};
use images::layout::STARTED_LINE;
use inventory::Way;

use self::addresses::{CHOSEN, STATIC, STRAY, SUBNET, addresses_inside};
use self::ssh_probe::{SshProbe, rules};
use crate::blame::ScenarioError;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::failover::{FAILOVER, Failover};
use crate::real::edge::hydration_diff::guest_settings;
use crate::real::machine::Running;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;
use crate::real::workload::MEMORY;
use crate::rules::ids::*;
use crate::ssh::Key;

/// Name of the scenario's own steps in progress.
const LABEL: &str = "networks";
/// What the rules of machine and subnet decide about SSH, in every combination.
const COMBINATIONS: [(Decision, Decision); 4] = [
    (Decision::Allow, Decision::Allow),
    (Decision::Allow, Decision::Deny),
    (Decision::Deny, Decision::Allow),
    (Decision::Deny, Decision::Deny),
];

pub(crate) const SCRIPT: Script = Script {
    edges: || vec![FAILOVER],
    repeatable: false,
    needs: &[
        Operation::TestFailover,
        Operation::TestFailoverCleanup,
        Operation::UnplannedFailover,
        Operation::Commit,
    ],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let key = Key::generate(context.scratch_dir()).await?;
    let source = boot_source(context, &key).await?;
    setup::protect(context, &source).await?;
    choose_target(context).await?;
    test_failover::run(context, &key).await?;
    let cloud = Failover { source: &source }.run(context).await?;
    check_address(context, &cloud).await?;
    let probe = SshProbe::to(context, &context.recovery, &cloud, &key).await?;
    check_rule_combinations(context, &cloud, &probe).await?;
    check_public_address(context, &probe).await?;
    ssh_disabled::run(context, &key).await?;
    teardown::end_on_recovery_site(context, &cloud).await?;
    check_after_shutdown(context, &cloud).await
}

/// Installs a machine whose address is set inside the guest and whose DHCP service is off, and logs
/// in to it.
async fn boot_source(context: &ScenarioContext, key: &Key) -> Result<Running, ScenarioError> {
    let native = setup::InstallProfile::native(&context.primary).await?.with(|variant| {
        variant.dhcp = false;
        variant.address = Some(STATIC);
        variant.firewall_refuses_ssh = true;
        variant.authorized_keys = vec![key.public().to_owned()];
    });
    let placement = Placement { address: Some(STATIC), ..Placement::default() };
    let source = setup::boot_source_as(context, &setup::InstallProfile { placement, ..native }).await?;
    source.boot.guest.until_started(BOOT_WITHIN).await?;
    let step = context.evidence.step("", "log in to the source");
    let probe = SshProbe::to(context, &context.primary, &source, key).await?;
    own_firewall::open_on_source(&source, &probe).await?;
    step.done();
    let addresses = addresses_inside(&source).await?;
    if addresses != [STATIC.to_string()] {
        return Err(ScenarioError::Inconclusive(format!(
            "the source has addresses {addresses:?} and not {STATIC}"
        )));
    }
    context.trace(format!("source: at {STATIC} without DHCP, a login succeeds"));
    Ok(source)
}

/// FO-17, MO-03: subnet and address are chosen before the failover, and an address outside the
/// subnet is reported.
async fn choose_target(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let settings = |address| TargetSettings {
        placement: Placement {
            subnet: Some(SUBNET.to_owned()),
            address: Some(address),
            ..Placement::default()
        },
        ..TargetSettings::new(context.machine.clone(), MEMORY)
    };
    let reports_stray =
        |view: &ItemView| view.issues.iter().any(|issue| issue.class == IssueClass::MissingResource);
    // A core may look at new settings at once, or only when it checks the configuration.
    let mut stray = context.core.update_target(&context.item, &settings(STRAY)).await?;
    if !reports_stray(&stray) {
        stray = context.core.check_configuration(&context.item).await?;
    }
    let found = format!("{STRAY} in {SUBNET}: {:?}", stray.issues);
    context.check(MO_03, reports_stray(&stray), found);
    let mut chosen = context.core.update_target(&context.item, &settings(CHOSEN)).await?;
    if !chosen.issues.is_empty() {
        chosen = context.core.check_configuration(&context.item).await?;
    }
    let found = format!("{CHOSEN} in {SUBNET}: {:?}", chosen.issues);
    context.check(MO_03, chosen.issues.is_empty(), found);
    let shown = chosen.target == settings(CHOSEN);
    context.check(FO_17, shown, "the item shows the settings that were made");
    context.trace(format!("target: {CHOSEN} in subnet {SUBNET}"));
    Ok(())
}

/// CN-10, HY-05: the guest has the chosen address from the DHCP service, which hydration enabled.
async fn check_address(context: &ScenarioContext, cloud: &Running) -> Result<(), ScenarioError> {
    let machine = context.recovery.machine(&context.machine).await?;
    let inside = addresses_inside(cloud).await?;
    let subnet = machine.placement.subnet.as_deref();
    let address = machine.nic.address;
    let as_chosen = subnet == Some(SUBNET) && address == Some(CHOSEN) && inside == [CHOSEN.to_string()];
    let found = format!("subnet {subnet:?}, address {address:?}, inside {inside:?}");
    context.check(CN_10, as_chosen, found);
    let settings = guest_settings(&cloud.boot.disks[0].base)?;
    let dhcp = settings.lines().any(|line| line == "DHCP=yes");
    context.check(HY_05, dhcp, format!("the DHCP service starts on the target: {dhcp}"));
    context.trace(format!("cloud: up at {CHOSEN} in subnet {SUBNET}"));
    Ok(())
}

/// CN-03: a login succeeds once the rules of both machine and subnet allow it, and, for CN-02, the
/// machine's own firewall. ST-06: it does not otherwise.
async fn check_rule_combinations(
    context: &ScenarioContext,
    cloud: &Running,
    probe: &SshProbe<'_>,
) -> Result<(), ScenarioError> {
    let step = context.evidence.step(LABEL, "rules of machine and subnet");
    probe.check_refused(Way::Private, "no rule allows it").await?;
    set_rules(context, Decision::Allow, Decision::Allow).await?;
    own_firewall::check(context, cloud, probe).await?;
    for (machine, subnet) in COMBINATIONS {
        set_rules(context, machine, subnet).await?;
        let case = format!("machine {machine:?}, subnet {subnet:?}");
        if (machine, subnet) == (Decision::Allow, Decision::Allow) {
            probe.check_login(CN_03, Way::Private, &case).await?;
        } else {
            probe.check_refused(Way::Private, &case).await?;
        }
    }
    step.done();
    Ok(())
}

/// Sets what the rules of machine and subnet decide about SSH.
async fn set_rules(
    context: &ScenarioContext,
    machine: Decision,
    subnet: Decision,
) -> Result<(), ScenarioError> {
    context.recovery.secure_machine(&context.machine, rules(machine)).await?;
    context.recovery.secure_subnet(SUBNET, rules(subnet)).await?;
    Ok(())
}

/// CN-04: a login by a public address succeeds once one is added. ST-06: there is none until then,
/// and the same rules apply to it.
async fn check_public_address(context: &ScenarioContext, probe: &SshProbe<'_>) -> Result<(), ScenarioError> {
    let step = context.evidence.step(LABEL, "a public address");
    set_rules(context, Decision::Allow, Decision::Allow).await?;
    let address = context.recovery.machine(&context.machine).await?.nic.public_address;
    context.check(ST_06, address.is_none(), format!("public address after failover: {address:?}"));
    let endpoint = context.recovery.endpoint(&context.machine, Way::Public, ssh_probe::SSH).await?;
    if endpoint.is_some() {
        return Err(ScenarioError::Inconclusive(format!(
            "the stand-in forwards a public port without a public address: {endpoint:?}"
        )));
    }
    context.recovery.set_public_address(&context.machine, true).await?;
    let address = context.recovery.machine(&context.machine).await?.nic.public_address;
    context.check(ST_06, address.is_some(), format!("public address once added: {address:?}"));
    probe.check_login(CN_04, Way::Public, "public address").await?;
    context.recovery.secure_subnet(SUBNET, rules(Decision::Deny)).await?;
    probe.check_refused(Way::Public, "public address, subnet Deny").await?;
    context.recovery.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
    context.recovery.set_public_address(&context.machine, false).await?;
    probe.check_refused(Way::Public, "public address taken away").await?;
    step.done();
    Ok(())
}

/// ST-07: a machine that is off is shown as off. ST-08: its console output is in the evidence.
async fn check_after_shutdown(context: &ScenarioContext, cloud: &Running) -> Result<(), ScenarioError> {
    let power = context.recovery.machine(&context.machine).await?.power;
    let found = format!("after its shutdown the machine is {power:?}");
    context.check(ST_07, power == PowerState::Off, found);
    let path = cloud.boot.dir.join("serial.log");
    let console = std::fs::read(&path).map_err(harness::Error::file(&path))?;
    let complete = String::from_utf8_lossy(&console).contains(STARTED_LINE);
    context.check(ST_08, complete, format!("{} bytes of its console are kept", console.len()));
    Ok(())
}
