//! Machines with UEFI whose boot loader only their firmware variables name, which no disk holds
//! (FX-62).

use contract::{Firmware, PointChoice};
use simulator::testbed::{BACK, BOOT, failover_to};
use simulator::{SimBoot, SimInstall, SimProfile, Snapshot};

use crate::rules::RuleLog;
use crate::rules::ids::FX_62;
use crate::sim::check::{Check, check};
use crate::sim::disks::booted_from;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a VMware machine that starts by a boot entry starts in the cloud",
        &[FX_62],
        Setup::vmware,
        failover
    ),
    check!(
        "a physical server that starts by a boot entry starts in the cloud",
        &[FX_62],
        || Setup::of(SimProfile::PHYSICAL),
        failover
    ),
    check!(
        "a Hyper-V machine that starts by a boot entry starts in the cloud",
        &[FX_62],
        || Setup::of(SimProfile::HYPERV),
        failover
    ),
    check!(
        "a machine that starts by a boot entry starts on another KVM host",
        &[FX_62],
        || Setup::of(SimProfile::KVM).to(SimProfile::KVM),
        failover
    ),
    check!(
        "a machine that starts by a boot entry starts again after a failback",
        &[FX_62],
        Setup::vmware,
        failback
    ),
];

/// A path that no firmware tries by itself.
const ENTRY: &str = r"\EFI\debian\grubx64.efi";

/// A machine with UEFI, whose firmware variables name this boot loader.
fn machine(name: &str, boot_entry: Option<&str>) -> SimInstall {
    let boot_entry = boot_entry.map(ToOwned::to_owned);
    SimInstall { firmware: Firmware::Uefi, boot_entry, ..SimInstall::new(name) }
}

/// Records whether a machine came up, from these disks.
fn judge(rules: &mut RuleLog, what: &str, boot: &SimBoot, disks: &[Snapshot]) {
    let from_disks = booted_from(boot, disks);
    let found = format!("{what}: up: {:?}; from the point's disks: {from_disks}", boot.up);
    rules.check(FX_62, boot.up.is_ok() && from_disks, found);
}

async fn failover(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    for (name, entry) in [("usual", None), ("named", Some(ENTRY))] {
        let item = testbed.protect_machine(&machine(name, entry)).await?;
        testbed.wait_for_points(&item, 2).await?;
        let point = testbed.newest_point(&item).await?;
        let disks = testbed.point_content(&testbed.recovery, &point)?;
        let request = failover_to(&item, PointChoice::Custom(point.id.clone()));
        testbed.completed(testbed.core.failover(&request).await).await?;
        testbed.advance(BOOT).await;
        judge(rules, &format!("{name}: failover"), &testbed.boots(name)?.target, &disks);
    }
    Ok(())
}

async fn failback(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&machine("web", Some(ENTRY))).await?;
    testbed.wait_for_points(&item, 2).await?;
    let request = failover_to(&item, PointChoice::LatestProcessed);
    testbed.completed(testbed.core.failover(&request).await).await?;
    testbed.advance(BOOT).await;
    let up = testbed.boots("web")?.target.up.clone();
    rules.check(FX_62, up.is_ok(), format!("failover: up: {up:?}"));
    testbed.commit(&item).await?;
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    let up = testbed.failback_boots("web", &testbed.primary)?.target.up.clone();
    rules.check(FX_62, up.is_ok(), format!("failback: up: {up:?}"));
    Ok(())
}
