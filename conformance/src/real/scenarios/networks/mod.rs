//! Networks: a machine with an address of its own comes up elsewhere at the address that was chosen for it, and is reached
//! exactly where security rules let somebody in.
//!
//! What is denied is refused by the system, because nobody listens: that is the stand-in's part. If it lets in what its
//! rules deny, nothing can be said of the core. That a login succeeds on the source comes first, so that one that fails
//! afterwards is not the image's fault.

mod ssh_disabled;
mod ssh_probe;
mod test_failover;

use std::net::Ipv4Addr;

use contract::{AddressRange, Decision, IssueClass, ItemView, Placement, Platform, TargetSettings};
use images::layout::{STARTED_LINE, VARIANT_ENV};
use inventory::Way;

use self::ssh_probe::{Visitor, rules};
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::failover;
use crate::real::error::ScenarioError;
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::teardown as finish;
use crate::rules::ids::*;
use crate::ssh::Key;

const STEP: &str = "networks";
/// Where the machine is told to come up: not the first subnet, and not the address that is given unasked.
const SUBNET: &str = "backend";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 140);
/// An address of the other subnet.
const STRAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 40);
/// The address that the source has without asking anybody.
const FIXED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// Addresses of test failovers.
const ISOLATED: AddressRange = AddressRange::TEST_NET_3;
/// Both answers that a list of rules can give, of the machine and of the subnet.
const COMBINATIONS: [(Decision, Decision); 4] = [
    (Decision::Allow, Decision::Allow),
    (Decision::Allow, Decision::Deny),
    (Decision::Deny, Decision::Allow),
    (Decision::Deny, Decision::Deny),
];

pub(crate) async fn go(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let key = Key::make(world.scratch_dir()).await?;
    let source = boot_source(world, &key).await?;
    setup::protect(world, &source).await?;
    choose_target(world).await?;
    test_failover::hold(world, &key).await?;
    let cloud = failover::fail_over(world, &source).await?;
    came_up_as_chosen(world, &cloud).await?;
    let visitor = Visitor::of(world, &cloud, &key).await?;
    both_lists(world, &visitor).await?;
    public_address(world, &visitor).await?;
    ssh_disabled::fail_over(world, &key).await?;
    finish::rest(world, &cloud).await?;
    left_behind(world, &cloud).await
}

/// A machine whose address is set inside it, with its DHCP service off.
async fn boot_source(world: &ScenarioContext, key: &Key) -> Result<Running, ScenarioError> {
    let native = setup::InstallProfile::native(&world.primary).await?.with(|variant| {
        variant.dhcp = false;
        variant.address = Some(FIXED);
        variant.authorized_keys = vec![key.public().to_owned()];
    });
    let placement = Placement { address: Some(FIXED), ..Placement::default() };
    let source = setup::boot_source_as(world, &setup::InstallProfile { placement, ..native }).await?;
    source.boot.guest.until_started(BOOT_WITHIN).await?;
    let step = world.evidence.step("", "log in to the source");
    let visitor = Visitor::at(&world.primary, world, &source, key).await?;
    let login = visitor.knock(Way::Private).await?;
    if !visitor.is_home(&login) {
        return Err(ScenarioError::Inconclusive(format!("nobody can log in to the source: {login:?}")));
    }
    step.done();
    let address = address_inside(&source).await?;
    if address != [FIXED.to_string()] {
        return Err(ScenarioError::Inconclusive(format!(
            "the source has addresses {address:?} and not {FIXED}"
        )));
    }
    world.trace(format!("source: at {FIXED} without DHCP, a login succeeds"));
    Ok(source)
}

/// What the guest says of its cards' addresses.
async fn address_inside(machine: &Running) -> Result<Vec<String>, ScenarioError> {
    let guest = &machine.boot.guest;
    let hello = guest.race("its addresses", BOOT_WITHIN, guest.witness().hello_again()).await?;
    Ok(hello.nics.into_iter().map(|nic| nic.address).collect())
}

/// FO-17, MO-03: subnet and address are chosen before the failover; an address that the subnet does not have is found.
async fn choose_target(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let wanted = |address| TargetSettings {
        placement: Placement {
            subnet: Some(SUBNET.to_owned()),
            address: Some(address),
            ..Placement::default()
        },
        ..TargetSettings::new(world.machine.clone(), setup::MEMORY)
    };
    let of_address = |view: &ItemView, address: Ipv4Addr| {
        let names = |text: &str| text.contains(&address.to_string());
        view.issues.iter().any(|issue| issue.class == IssueClass::MissingResource && names(&issue.what))
    };
    let stray = world.core.update_target(&world.item, &wanted(STRAY)).await?;
    let found = format!("{STRAY} in {SUBNET}: {:?}", stray.issues);
    world.check(MO_03, of_address(&stray, STRAY), found);
    let right = world.core.update_target(&world.item, &wanted(ADDRESS)).await?;
    let found = format!("{ADDRESS} in {SUBNET}: {:?}", right.issues);
    world.check(MO_03, right.issues.is_empty(), found);
    world.check(FO_17, right.target == wanted(ADDRESS), "the item shows the settings that were made");
    world.trace(format!("target: {ADDRESS} in subnet {SUBNET}"));
    Ok(())
}

/// CN-10, HY-05: the guest has the chosen address, by the DHCP service that hydration let start.
async fn came_up_as_chosen(world: &ScenarioContext, cloud: &Running) -> Result<(), ScenarioError> {
    let shown = world.recovery.machine(&world.machine).await?;
    let inside = address_inside(cloud).await?;
    let subnet = shown.placement.subnet.as_deref();
    let right =
        subnet == Some(SUBNET) && shown.nic.address == Some(ADDRESS) && inside == [ADDRESS.to_string()];
    let found = format!("subnet {subnet:?}, address {:?}, inside {inside:?}", shown.nic.address);
    world.check(CN_10, right, found);
    let settings =
        images::read_boot_file(&cloud.boot.disks[0].base, VARIANT_ENV).map_err(harness::Error::from)?;
    let settings = String::from_utf8_lossy(&settings);
    let dhcp = settings.lines().any(|line| line == "DHCP=yes");
    world.check(HY_05, dhcp, format!("the DHCP service starts on the target: {dhcp}"));
    world.trace(format!("cloud: up at {ADDRESS} in subnet {SUBNET}"));
    Ok(())
}

/// CN-03: SSH comes in where machine and subnet both allow it; CN-06: what cannot be reached runs all the same.
async fn both_lists(world: &ScenarioContext, visitor: &Visitor<'_>) -> Result<(), ScenarioError> {
    let step = world.evidence.step(STEP, "rules of machine and subnet");
    visitor.is_shut_out(CN_03, Way::Private, "no rule allows it").await?;
    for (machine, subnet) in COMBINATIONS {
        world.recovery.secure_machine(&world.machine, rules(machine)).await?;
        world.recovery.secure_subnet(SUBNET, rules(subnet)).await?;
        let case = format!("machine {machine:?}, subnet {subnet:?}");
        if (machine, subnet) == (Decision::Allow, Decision::Allow) {
            visitor.gets_in(CN_03, Way::Private, &case).await?;
        } else {
            visitor.is_shut_out(CN_03, Way::Private, &case).await?;
        }
    }
    step.done();
    Ok(())
}

/// CN-04: there is no public address until one is added, and then the same rules hold.
async fn public_address(world: &ScenarioContext, visitor: &Visitor<'_>) -> Result<(), ScenarioError> {
    let step = world.evidence.step(STEP, "a public address");
    world.recovery.secure_machine(&world.machine, rules(Decision::Allow)).await?;
    world.recovery.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
    let shown = world.recovery.machine(&world.machine).await?.nic.public_address;
    world.check(CN_04, shown.is_none(), format!("public address after failover: {shown:?}"));
    let before = world.recovery.endpoint(&world.machine, Way::Public, ssh_probe::SSH).await?;
    if before.is_some() {
        return Err(ScenarioError::Inconclusive(format!(
            "the stand-in has a public way in unasked: {before:?}"
        )));
    }
    world.recovery.set_public_address(&world.machine, true).await?;
    let shown = world.recovery.machine(&world.machine).await?.nic.public_address;
    world.check(CN_04, shown.is_some(), format!("public address once added: {shown:?}"));
    visitor.gets_in(CN_04, Way::Public, "public address").await?;
    world.recovery.secure_subnet(SUBNET, rules(Decision::Deny)).await?;
    visitor.is_shut_out(CN_04, Way::Public, "public address, subnet Deny").await?;
    world.recovery.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
    world.recovery.set_public_address(&world.machine, false).await?;
    visitor.is_shut_out(CN_04, Way::Public, "public address taken away").await?;
    step.done();
    Ok(())
}

/// CN-06: a machine that is off says so. CN-05: what its console said is in the evidence.
async fn left_behind(world: &ScenarioContext, cloud: &Running) -> Result<(), ScenarioError> {
    let power = world.recovery.machine(&world.machine).await?.power;
    let off = power == contract::PowerState::Off;
    world.check(CN_06, off, format!("after its shutdown the machine is {power:?}"));
    let path = cloud.boot.dir.join("serial.log");
    let console = std::fs::read(&path).map_err(harness::Error::file(&path))?;
    let said = String::from_utf8_lossy(&console).contains(STARTED_LINE);
    world.check(CN_05, said, format!("{} bytes of its console are kept", console.len()));
    Ok(())
}
