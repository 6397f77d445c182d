//! After a failover and after a fault all is as usual: the machine starts again, transfers are of
//! changes, and what is shown is of the new direction (FX-33 to FX-35).

use contract::{ItemId, Millis, Platform, PointChoice, Timestamp};
use simulator::SimFault;
use simulator::testbed::{BACK, BOOT, Boots, INTERVAL, cloud_machine, item_of};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::amounts::{filling, most, written_since};
use crate::sim::check::{Check, check, missing, succeeds};
use crate::sim::checks::variety::with_any_writes;
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a recovered machine starts again, before the commit and after it",
        &[FX_33],
        Setup::vmware,
        starts_again
    ),
    check!(
        "transfers are of changes again once the source forgot them, and once the link was cut",
        &[FX_34],
        Setup::vmware,
        incremental_again
    ),
    check!(
        "after a reprotection no point of the earlier direction is shown",
        &[FX_35],
        Setup::vmware,
        new_direction_is_shown
    ),
    check!(
        "after the reprotection of a group no point of the earlier direction is shown",
        &[FX_35],
        Setup::vmware,
        new_direction_of_group_is_shown
    ),
];

/// Turns the recovered machine off and on again, and records whether it comes up with everything
/// that it had written.
async fn restart(testbed: &Testbed, rules: &mut RuleLog, when: &str) -> Result<(), EarlyEnd> {
    let (site, copy) = (&testbed.recovery, cloud_machine("web"));
    let source = site.last_boot(&copy).ok_or_else(|| missing("a boot of the copy of web"))?;
    site.shut_down(&copy, Millis(60_000)).await?;
    testbed.advance(INTERVAL).await;
    site.start(&copy).await?;
    testbed.advance(BOOT).await;
    let target = site.last_boot(&copy).ok_or_else(|| missing("a boot of the copy of web"))?;
    let up = target.up.clone();
    let again = target.number > source.number;
    let complete = Boots { source, target }.is_complete();
    let found = format!("{when} the machine is started again: {again}, up: {up:?}, complete: {complete}");
    rules.check(FX_33, again && up.is_ok() && complete, found);
    Ok(())
}

async fn starts_again(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.advance(INTERVAL).await;
    restart(testbed, rules, "before the commit").await?;
    succeeds(rules, (FX_33, "the commit of a machine that was restarted"), testbed.commit(&item).await)?;
    testbed.advance(INTERVAL).await;
    restart(testbed, rules, "after the commit").await?;
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    Ok(check_returned(rules, FX_33, testbed, ("web", &testbed.primary))?)
}

/// How much arrives in five intervals, and how much is changed in them.
async fn five_intervals(testbed: &Testbed) -> Result<(u64, u64), EarlyEnd> {
    testbed.wait_until_idle().await?;
    let (from, arrived) = (testbed.world.clock().now(), testbed.recovery.written().0);
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    testbed.wait_until_idle().await?;
    let boot = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    // What the first of these transfers brings was changed in the interval before.
    let changed = written_since(&boot, Timestamp(from.0 - 2 * INTERVAL.0));
    Ok((testbed.recovery.written().0 - arrived, changed))
}

async fn incremental_again(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&filling("web")).await?;
    testbed.wait_for_points(&item, 3).await?;
    // Most of the disks is filled, so that a full transfer is much.
    testbed.advance(Millis(90 * INTERVAL.0)).await;
    let (arrived, changed) = five_intervals(testbed).await?;
    if arrived > most(changed) {
        // It cannot become incremental again.
        rules.leave_out(FX_34);
        return Ok(());
    }
    testbed.primary.stop_tracking(&"web".into()).await?;
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    check_incremental(testbed, rules, "the source forgot what had changed").await?;
    testbed.primary.inject(&SimFault::LinkCut);
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    testbed.primary.heal();
    // After a failure a core may pause for longer than its interval.
    testbed.advance(Millis(15 * INTERVAL.0)).await;
    check_incremental(testbed, rules, "the link was cut").await
}

async fn check_incremental(testbed: &Testbed, rules: &mut RuleLog, after: &str) -> Result<(), EarlyEnd> {
    let (arrived, changed) = five_intervals(testbed).await?;
    let found = format!("after {after} {arrived} bytes arrived in five intervals, {changed} had changed");
    rules.check(FX_34, arrived <= most(changed), found);
    Ok(())
}

/// Records whether an item shows only points from after a moment at which its replication back had
/// not begun.
async fn check_shown(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    began: Timestamp,
) -> Result<(), EarlyEnd> {
    let view = testbed.item(item).await?;
    let old = view.points.iter().filter(|point| point.time < began).count();
    let found = format!("{old} of {} points of {item} are of the earlier direction", view.points.len());
    rules.check(FX_35, old == 0, found);
    let chosen = view.failed_over_to.is_none();
    rules.check(FX_35, chosen, format!("{item} shows no point that it has failed over to: {chosen}"));
    Ok(())
}

async fn new_direction_is_shown(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 5).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let began = testbed.world.clock().now();
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    check_shown(testbed, rules, &item, began).await?;
    testbed.wait_for_points(&item, 3).await?;
    check_shown(testbed, rules, &item, began).await
}

async fn new_direction_of_group_is_shown(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let names = ["db", "web"];
    for name in names {
        testbed.protect_in_group(&simulator::SimInstall::new(name), Some("shop")).await?;
    }
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    testbed.create_plan(&[simulator::testbed::group(&names)]).await?;
    let request = simulator::testbed::failover_plan_to(PointChoice::LatestMultiVm);
    testbed.fail_over_plan(&request, &names).await?;
    let began = testbed.world.clock().now();
    testbed.commit_and_reprotect_plan(&names).await?;
    for name in names {
        check_shown(testbed, rules, &item_of(name), began).await?;
    }
    Ok(())
}
