//! Machines with two network cards: the recovered machine has both, each in the network and at the
//! address that were chosen for it (FX-65).

use std::net::Ipv4Addr;

use contract::{
    Bytes, EnableProtection, ItemId, MachineView, Network, NicSpec, NicView, Placement, Platform,
    PointChoice, TargetSettings, TestFailoverRequest,
};
use simulator::testbed::{BACK, cloud_machine, kept};
use simulator::{SimInstall, SimProfile, SimSite};

use crate::network_cards::CAPABILITY;
use crate::rules::RuleLog;
use crate::rules::ids::{FX_65, TF_04};
use crate::sim::check::{Check, check, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Opener, Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "both network cards of a VMware machine are where the settings say",
        &[FX_65],
        Setup::vmware,
        reopening failover_to_chosen
    ),
    check!(
        "both network cards of a physical server are where the settings say",
        &[FX_65],
        || Setup::of(SimProfile::PHYSICAL),
        reopening failover_to_chosen
    ),
    check!(
        "both network cards of a Hyper-V machine are where the settings say",
        &[FX_65],
        || Setup::of(SimProfile::HYPERV),
        reopening failover_to_chosen
    ),
    check!(
        "both network cards of a machine of a cloud region are where the settings say",
        &[FX_65],
        || Setup::of(SimProfile::AZURE),
        reopening failover_to_chosen
    ),
    check!(
        "a machine keeps its second network card on another KVM host without any settings",
        &[FX_65],
        || Setup::of(SimProfile::KVM).to(SimProfile::KVM),
        reopening failover_without_settings
    ),
    check!(
        "both network cards of a test failover are in the isolated network",
        &[FX_65, TF_04],
        Setup::vmware,
        reopening test_failover
    ),
    check!(
        "a machine comes back with both network cards",
        &[FX_65],
        Setup::vmware,
        reopening failback
    ),
    check!(
        "a machine that a failback makes again has both network cards of the one that is gone",
        &[FX_65],
        Setup::vmware,
        reopening failback_to_new_machine
    ),
];

/// Nothing is judged of a core that recovers one network card only.
async fn needs_capability(testbed: &Testbed, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    if testbed.core.capabilities().await?.several_nics {
        return Ok(());
    }
    opener.missing.note(CAPABILITY);
    Err(EarlyEnd::unsupported(FX_65, CAPABILITY))
}

/// A machine with two network cards, or with one.
fn machine(name: &str, cards: usize) -> SimInstall {
    SimInstall { more_nics: vec![NicSpec::default(); cards - 1], ..SimInstall::new(name) }
}

/// Settings for a machine's copy in the cloud: its first card in the second subnet, and its second
/// one in the first, so that no default gives the same.
fn chosen(name: &str, cards: usize) -> TargetSettings {
    let second = NicSpec {
        subnet: Some("default".to_owned()),
        address: Some([198, 51, 100, 40].into()),
        ..NicSpec::default()
    };
    let placement = Placement {
        subnet: Some("backend".to_owned()),
        address: Some([198, 51, 100, 140].into()),
        ..Placement::default()
    };
    let usual = TargetSettings::new(cloud_machine(name), Bytes(1 << 30));
    TargetSettings { placement, more_nics: vec![second; cards - 1], ..usual }
}

/// What is compared of a card.
type Place = (Network, Option<String>, Option<Ipv4Addr>);

fn place(nic: &NicView) -> Place {
    (nic.network, nic.subnet.clone(), nic.address)
}

/// The cards of a machine, the first one first.
fn places(machine: &MachineView) -> Vec<Place> {
    let first = NicView { subnet: machine.placement.subnet.clone(), ..machine.nic.clone() };
    std::iter::once(&first).chain(&machine.more_nics).map(place).collect()
}

/// Installs a machine and protects it with these settings of its copy.
async fn protect(
    testbed: &Testbed,
    install: &SimInstall,
    target: TargetSettings,
) -> Result<ItemId, EarlyEnd> {
    Ok(testbed.protect_as(install, |request| EnableProtection { target, ..request }).await?)
}

async fn failover_to_chosen(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    for (name, cards) in [("two", 2), ("one", 1)] {
        let target = chosen(name, cards);
        let wanted = target.clone();
        let item = protect(testbed, &machine(name, cards), target).await?;
        testbed.wait_for_points(&item, 2).await?;
        testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
        let first = (Network::Production, wanted.placement.subnet, wanted.placement.address);
        let more = wanted.more_nics.into_iter().map(|nic| (nic.network, nic.subnet, nic.address));
        let wanted: Vec<_> = std::iter::once(first).chain(more).collect();
        let found = places(&testbed.copy_of(name).await?);
        rules.check(FX_65, found == wanted, format!("{name}: asked for {wanted:?}, made with {found:?}"));
        // Only one machine at a time has the chosen addresses.
        kept("the recovered machine", testbed.recovery.power_off(&cloud_machine(name)).await)?;
        kept("the recovered machine", testbed.recovery.delete_machine(&cloud_machine(name)).await)?;
    }
    Ok(())
}

async fn failover_without_settings(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    let item = testbed.protect_machine(&machine("web", 2)).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
    let found = places(&testbed.copy_of("web").await?);
    let held = found.len() == 2 && found.iter().all(|(network, ..)| *network == Network::Production);
    rules.check(FX_65, held, format!("without settings: {found:?}"));
    Ok(())
}

async fn test_failover(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    let target = chosen("web", 2);
    let item = protect(testbed, &machine("web", 2), target).await?;
    testbed.wait_for_points(&item, 2).await?;
    let request = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
    testbed.completed(testbed.core.test_failover(&request).await).await?;
    let shown = testbed.item(&item).await?.test_failover;
    let name = shown.ok_or_else(|| missing("the machine of the test failover"))?;
    let found = places(&testbed.machine_at(&testbed.recovery, &name.0).await?);
    let isolated = found.iter().all(|(network, ..)| *network == Network::Isolated);
    rules.check(TF_04, isolated, format!("network cards of the test failover: {found:?}"));
    rules.check(FX_65, found.len() == 2 && isolated, format!("test failover: {found:?}"));
    Ok(())
}

async fn failback(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    comes_back(testbed, rules, Original::Kept).await
}

async fn failback_to_new_machine(
    testbed: &mut Testbed,
    rules: &mut RuleLog,
    opener: &Opener<'_>,
) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    comes_back(testbed, rules, Original::Deleted).await
}

/// What becomes of the original while the machine runs in the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Original {
    Kept,
    Deleted,
}

async fn comes_back(testbed: &Testbed, rules: &mut RuleLog, original: Original) -> Result<(), EarlyEnd> {
    let second = NicSpec { address: Some([192, 0, 2, 200].into()), ..NicSpec::default() };
    let install = SimInstall { more_nics: vec![second], ..SimInstall::new("web") };
    let item = testbed.protect_machine(&install).await?;
    testbed.wait_for_points(&item, 2).await?;
    let before = testbed.machine_at(&testbed.primary, "web").await?;
    testbed.fail_over_from_lost_site(&item).await?;
    if original == Original::Deleted {
        delete(&testbed.primary, &before).await?;
    }
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    let after = places(&testbed.machine_at(&testbed.primary, "web").await?);
    let found = format!("original {original:?}: before {:?}, after {after:?}", places(&before));
    rules.check(FX_65, after == places(&before), found);
    Ok(())
}

async fn delete(site: &SimSite, machine: &MachineView) -> Result<(), EarlyEnd> {
    site.delete_machine(&machine.id).await?;
    for disk in &machine.disks {
        site.delete_volume(&disk.volume).await?;
    }
    Ok(())
}
