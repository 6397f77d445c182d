//! What administrators do to a protected machine: another disk, an earlier state, an edit while it
//! is off, a clock that is set (FX-27 to FX-29, FX-31, FX-32), and a source that forgets what has
//! changed.

use contract::{Bytes, Health, Millis, Platform, PointChoice, Policy, Timestamp};
use simulator::testbed::{BACK, BOOT, Boots, HOUR, INTERVAL, cloud_machine};
use simulator::{SimFault, SimProfile, Snapshot, TrackerLie};

use crate::rules::ids::*;
use crate::rules::{RuleId, RuleLog};
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::checks::failed_calls::succeeded;
use crate::sim::checks::variety::{check_exact, with_few_writes};
use crate::sim::disks::{check_returned, same_content};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!("no point lacks a disk that was added", &[FX_27], Setup::vmware, disks_change(Change::Added)),
    check!("no point has a disk that was removed", &[FX_27], Setup::vmware, disks_change(Change::Removed)),
    check!(
        "no point lacks the new end of a disk",
        &[EX_R12],
        || Setup::of(SimProfile::AZURE),
        disks_change(Change::Grown)
    ),
    check!(
        "no point lacks the new end of a disk whose changes the source forgets there",
        &[EX_R12],
        || Setup::of(SimProfile::AZURE),
        disks_change(Change::GrownAndForgotten)
    ),
    check!(
        "a copy whose disk has grown comes back with it, or not at all",
        &[EX_R12],
        Setup::vmware,
        copy_grows
    ),
    check!(
        "points have the new content of a disk that was replaced",
        &[FX_28],
        Setup::vmware,
        disks_change(Change::Replaced)
    ),
    check!(
        "points have the content of a machine that was put back to an earlier state",
        &[FX_28],
        Setup::vmware,
        disks_change(Change::Reverted)
    ),
    check!(
        "points have what was written to a disk while its machine was off",
        &[FX_28],
        Setup::vmware,
        disks_change(Change::Edited)
    ),
    check!(
        "points stay and new ones can be chosen when the core's clock jumps",
        &[FX_29],
        two_hours,
        core_clock_jumps
    ),
    check!(
        "points stay when a source forgets what has changed",
        &[EX_R9, FX_32],
        Setup::vmware,
        points_stay_at_resync
    ),
    check!(
        "a machine with snapshots is recovered with what lies below them",
        &[FX_31],
        Setup::vmware,
        has_snapshots
    ),
    check!(
        "a planned failover is complete although the source forgot what has changed",
        &[EX_R9, PF_03],
        || Setup::of(SimProfile::HYPERV),
        forgets_before_last_transfer
    ),
];

/// What happens to the disks of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Added,
    Removed,
    Grown,
    GrownAndForgotten,
    Replaced,
    Reverted,
    Edited,
}

impl Change {
    /// The rule about points from afterwards.
    fn rule(self) -> RuleId {
        match self {
            Self::Added | Self::Removed => FX_27,
            Self::Grown | Self::GrownAndForgotten => EX_R12,
            Self::Replaced | Self::Reverted | Self::Edited => FX_28,
        }
    }
}

/// The content of the disks of `web`.
async fn content(testbed: &Testbed) -> Result<Vec<Snapshot>, EarlyEnd> {
    let disks = testbed.machine_at(&testbed.primary, "web").await?.disks;
    let content: Option<Vec<_>> = disks.iter().map(|disk| testbed.primary.snapshot(&disk.volume)).collect();
    content.ok_or_else(|| EarlyEnd::inconclusive("a disk of web is gone"))
}

async fn disks_change(testbed: &Testbed, rules: &mut RuleLog, change: Change) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    let earlier = content(testbed).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let (site, web) = (&testbed.primary, "web".into());
    site.shut_down(&web, Millis(60_000)).await?;
    let before = site.last_boot(&web).ok_or_else(|| missing("a boot of web"))?;
    match change {
        Change::Added => site.add_disk(&web, &"more".into(), Bytes(1 << 20))?,
        Change::Removed => site.remove_last_disk(&web)?,
        Change::Grown => site.grow_disk(&web, 1, Bytes(1 << 20))?,
        Change::GrownAndForgotten => {
            site.grow_disk(&web, 1, Bytes(1 << 23))?;
            site.inject(&SimFault::TrackerLies(TrackerLie::OmitsSecondHalf));
        }
        Change::Replaced => site.replace_last_disk(&web)?,
        Change::Reverted => site.revert_disks(&web, &earlier)?,
        Change::Edited => site.edit_disk(&web, 1, earlier[1].size() - 8192, &[0x5a; 4096])?,
    }
    let changed = testbed.world.clock().now();
    site.start(&web).await?;
    testbed.advance(Millis(10 * INTERVAL.0)).await;
    let view = testbed.item(&item).await?;
    let later = view.points.iter().any(|point| point.processed && point.time > changed);
    let rule = change.rule();
    let found = format!("{change:?}: there are later points: {later}, health {:?}", view.health);
    // A core may make no more points, if it says so.
    rules.check(rule, later || view.health != Health::Healthy, found);
    testbed.primary.lose();
    if later {
        let failed_over = testbed.fail_over(&item, PointChoice::Latest).await;
        failed_over.map_err(|end| against(rules, rule, end))?;
        testbed.advance(BOOT).await;
        return check_exact(rules, rule, &testbed.boots("web")?);
    }
    let request = simulator::testbed::failover_to(&item, PointChoice::LatestProcessed);
    let failed_over = testbed.completed(testbed.core.failover(&request).await).await;
    succeeds(rules, (rule, "a failover to the last point before"), failed_over)?;
    testbed.advance(BOOT).await;
    let target = testbed.recovery.last_boot(&cloud_machine("web")).ok_or_else(|| missing("a boot"))?;
    check_exact(rules, rule, &Boots { source: before, target })
}

async fn copy_grows(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let (site, copy) = (&testbed.recovery, cloud_machine("web"));
    site.power_off(&copy).await?;
    site.grow_disk(&copy, 1, Bytes(1 << 20))?;
    site.start(&copy).await?;
    testbed.advance(BOOT).await;
    let asked = testbed.core.reprotect(&testbed.reprotection(&item, BACK)).await;
    let reported = match asked {
        Ok(job) => !succeeded(&testbed.ended(&job).await?),
        Err(error) if error.code == contract::ErrorCode::NotSupported => return Err(error.into()),
        Err(_) => true,
    };
    if reported {
        let runs = site.last_boot(&copy).is_some_and(|boot| boot.ended().is_none());
        rules.check(EX_R12, runs, format!("the reprotection is refused or fails; the copy runs: {runs}"));
        return Ok(());
    }
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    Ok(check_returned(rules, EX_R12, testbed, ("web", &testbed.primary))?)
}

fn two_hours() -> Setup {
    Setup::vmware().with_policy(|policy| Policy {
        retention: Millis(2 * HOUR.0),
        most_points: None,
        ..policy
    })
}

/// How far the core's clock jumps, in milliseconds.
const JUMP: i64 = 73 * 60 * 60 * 1000;

async fn core_clock_jumps(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    for (ahead, what) in [(JUMP, "three days ahead"), (-JUMP, "three days behind")] {
        testbed.set_core_clock_ahead(ahead);
        testbed.advance(Millis(5 * INTERVAL.0)).await;
        let points = testbed.processed_points(&item).await?.len();
        let found = format!("while the core's clock is {what} there are {points} points");
        rules.check(FX_29, points > 0, found);
        testbed.set_core_clock_ahead(0);
        let right = testbed.world.clock().now();
        testbed.advance(Millis(10 * INTERVAL.0)).await;
        let points = testbed.processed_points(&item).await?;
        let new = points.iter().filter(|point| point.time > right).count();
        let found = format!("ten intervals after it was {what} there are {new} points of this time");
        rules.check(FX_29, new >= 5, found);
    }
    let disaster = testbed.primary.lose();
    let request = simulator::testbed::failover_to(&item, PointChoice::Latest);
    let failed_over = testbed.completed(testbed.core.failover(&request).await).await;
    succeeds(rules, (FX_29, "a failover afterwards"), failed_over)?;
    testbed.advance(BOOT).await;
    let boots = testbed.boots("web")?;
    check_exact(rules, FX_29, &boots)?;
    let transferred = Timestamp(disaster.0 - 2 * INTERVAL.0);
    let fresh = boots.check_freshness(transferred, disaster);
    let found = fresh.as_ref().map_or_else(ToString::to_string, |()| "it has the last transfer".to_owned());
    rules.check(FX_29, fresh.is_ok(), found);
    Ok(())
}

async fn points_stay_at_resync(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 5).await?;
    testbed.wait_until_idle().await?;
    let before = testbed.processed_points(&item).await?;
    let content = before.iter().map(|point| testbed.point_content(&testbed.recovery, point));
    let content = content.collect::<Result<Vec<_>, _>>()?;
    testbed.primary.stop_tracking(&"web".into()).await?;
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    let now = testbed.processed_points(&item).await?;
    let kept = before.iter().filter(|old| now.iter().any(|point| point.id == old.id)).count();
    let found = format!("{kept} of {} points are there after a resynchronisation", before.len());
    rules.check(FX_32, kept == before.len() && now.len() > kept, found);
    for (point, before) in before.iter().zip(content).filter(|(old, _)| now.contains(old)) {
        let same = same_content(&testbed.point_content(&testbed.recovery, point)?, &before);
        rules.check(FX_32, same, format!("{} is unchanged: {same}", point.id));
    }
    testbed.primary.lose();
    let failed_over = testbed.fail_over(&item, PointChoice::Latest).await;
    failed_over.map_err(|end| against(rules, EX_R9, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, EX_R9, &testbed.boots("web")?)
}

async fn has_snapshots(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.install(&with_few_writes()).await?;
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    testbed.primary.power_off(&"web".into()).await?;
    testbed.primary.snapshot_machine(&"web".into())?;
    testbed.primary.start(&"web".into()).await?;
    testbed.advance(INTERVAL).await;
    let request = simulator::testbed::enable_request("web");
    let asked = testbed.core.enable_protection(&request).await;
    if let Err(error) = &asked {
        rules.check(FX_31, true, format!("the protection of a machine with snapshots is refused: {error}"));
        return Ok(());
    }
    let enabled = testbed.completed(asked).await;
    succeeds(rules, (FX_31, "the protection of a machine with snapshots"), enabled)?;
    testbed.wait_for_points(&request.item, 3).await?;
    testbed.primary.lose();
    let failed_over = testbed.fail_over(&request.item, PointChoice::Latest).await;
    failed_over.map_err(|end| against(rules, FX_31, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_31, &testbed.boots("web")?)
}

async fn forgets_before_last_transfer(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    testbed.advance(Millis(INTERVAL.0 / 2)).await;
    testbed.primary.stop_tracking(&"web".into()).await?;
    let request = contract::FailoverRequest::planned(&item, simulator::testbed::OUT);
    let job = testbed.core.failover(&request).await;
    let failed_over = testbed.completed(job).await;
    succeeds(rules, (PF_03, "a planned failover whose source forgot what has changed"), failed_over)?;
    testbed.advance(BOOT).await;
    let boots = testbed.boots("web")?;
    check_exact(rules, EX_R9, &boots)?;
    let complete = boots.is_complete();
    rules.check(PF_03, complete, format!("the copy has everything that the source wrote: {complete}"));
    Ok(())
}
