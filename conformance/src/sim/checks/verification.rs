//! Records of changes and allocation maps that are wrong and look right, which only a comparison
//! finds (FX-41 to FX-46).

use contract::{
    Bytes, ItemId, Millis, Operation, Platform as _, PointChoice, RecoveryPoint, Side, Timestamp,
    Verification,
};
use simulator::testbed::{BACK, BOOT, INTERVAL};
use simulator::{Cut, Link, SimFault, SimProfile, Snapshot, TrackerLie, cut_of};

use crate::rules::ids::*;
use crate::rules::{RuleId, RuleLog};
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::checks::variety::{check_exact, with_any_writes, with_few_writes};
use crate::sim::disks::{check_returned, same_content};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a verification repairs what was written while snapshots were closed",
        FOUND,
        Setup::vmware,
        record_lies(TrackerLie::OmitsWhileClosing)
    ),
    check!(
        "a verification repairs what was written while the site still merged a snapshot that was closed",
        FOUND,
        Setup::vmware,
        record_lies(TrackerLie::OmitsWhileMerging)
    ),
    check!(
        "a verification repairs what the source forgot in the second half of its disks",
        FOUND,
        Setup::vmware,
        record_lies(TrackerLie::OmitsSecondHalf)
    ),
    check!(
        "a verification repairs the disks whose changes the source did not name",
        FOUND,
        Setup::vmware,
        record_lies(TrackerLie::NamesFirstDiskOnly)
    ),
    check!(
        "a verification repairs what changed before the moment that the source answered for",
        FOUND,
        Setup::vmware,
        record_lies(TrackerLie::AnswersForLaterMoment)
    ),
    check!(
        "a verification finds that disks were put back to an earlier state",
        FOUND,
        keeps_records,
        unnoticed(Event::Reverted)
    ),
    check!(
        "a verification finds that a disk was replaced by an empty one",
        FOUND,
        keeps_records,
        unnoticed(Event::Replaced)
    ),
    check!(
        "a verification finds an edit of a disk whose machine was off",
        FOUND,
        keeps_records,
        unnoticed(Event::Edited)
    ),
    check!(
        "a verification finds what a migrated machine had written before",
        FOUND,
        keeps_records,
        unnoticed(Event::Migrated)
    ),
    check!(
        "a verification of a sound replica finds nothing, out and back",
        &[FX_42, FX_43],
        Setup::vmware,
        finds_nothing
    ),
    check!(
        "a verification reads what the source's allocation map calls empty",
        &[FX_45],
        Setup::vmware,
        map_lies
    ),
    check!(
        "a source that reports everything as changed does no harm",
        &[FX_46],
        Setup::vmware,
        everything_changed
    ),
];

/// The rules of a verification that finds something.
const FOUND: &[RuleId] = &[FX_41, FX_43, FX_44];

/// How long the source is wrong.
const AWHILE: Millis = Millis(10 * INTERVAL.0);
/// Time that it takes to close a snapshot, in which the guest writes.
const SLOW: Link = Link { latency: Millis(INTERVAL.0 / 3), bytes_per_second: 0, lose_every: 0 };

/// A source that keeps its record of changes while its machines are off.
fn keeps_records() -> Setup {
    Setup::of(SimProfile::AZURE)
}

/// What happens to a machine without the site's notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Reverted,
    Replaced,
    Edited,
    Migrated,
}

async fn record_lies(testbed: &Testbed, rules: &mut RuleLog, lie: TrackerLie) -> Result<(), EarlyEnd> {
    needs_verification(testbed).await?;
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    if lie == TrackerLie::OmitsWhileClosing {
        testbed.primary.set_link(SLOW);
    }
    testbed.primary.inject(&SimFault::TrackerLies(lie));
    testbed.advance(AWHILE).await;
    testbed.primary.set_link(Link::default());
    testbed.primary.heal();
    let healed = testbed.world.clock().now();
    repairs(testbed, rules, &item, healed).await
}

async fn unnoticed(testbed: &Testbed, rules: &mut RuleLog, event: Event) -> Result<(), EarlyEnd> {
    needs_verification(testbed).await?;
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    let (site, web) = (&testbed.primary, "web".into());
    let earlier = testbed.point_content(&testbed.recovery, &testbed.newest_point(&item).await?)?;
    testbed.advance(Millis(4 * INTERVAL.0)).await;
    testbed.wait_until_idle().await?;
    site.inject(&SimFault::EventsUnnoticed);
    if event == Event::Migrated {
        testbed.advance(Millis(INTERVAL.0 * 3 / 4)).await;
        site.migrate(&web).await?;
    } else {
        site.shut_down(&web, Millis(60_000)).await?;
        match event {
            Event::Reverted => site.revert_disks(&web, &earlier)?,
            Event::Replaced => site.replace_last_disk(&web)?,
            _ => site.edit_disk(&web, 1, earlier[1].size() - 8192, &[0x5a; 4096])?,
        }
        site.start(&web).await?;
    }
    site.heal();
    let healed = testbed.world.clock().now();
    testbed.advance(Millis(2 * INTERVAL.0)).await;
    repairs(testbed, rules, &item, healed).await
}

/// Verifies an item whose source has told too little, and fails it over.
async fn repairs(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    healed: Timestamp,
) -> Result<(), EarlyEnd> {
    let newest = point_after(testbed, item, healed).await?;
    testbed.wait_until_idle().await?;
    let wrong = !is_state_of_source(testbed, &newest)?;
    let before = contents(testbed, item).await?;
    let found = verify(testbed, rules, (FX_41, item)).await?;
    if wrong {
        let held = found.different.0 > 0;
        rules.check(FX_41, held, format!("{} is wrong, the verification says {found:?}", newest.id));
    } else {
        // This core did not miss anything.
        rules.leave_out(FX_41);
    }
    stay(testbed, rules, item, &before).await?;
    let later = point_after(testbed, item, found.at).await?;
    let right = is_state_of_source(testbed, &later)?;
    rules.check(
        FX_44,
        right,
        format!("{}, of after the verification, is a state of the source: {right}", later.id),
    );
    is_exact(testbed, rules, FX_44, item).await
}

async fn finds_nothing(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    needs_verification(testbed).await?;
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    for fault in [None, Some(SimFault::TrackerLies(TrackerLie::NamesEverything))] {
        if let Some(fault) = &fault {
            testbed.primary.inject(fault);
        }
        testbed.advance(Millis(INTERVAL.0 * 5 / 2)).await;
        let before = contents(testbed, &item).await?;
        has_no_difference(testbed, rules, &item).await?;
        stay(testbed, rules, &item, &before).await?;
        testbed.primary.heal();
    }
    testbed.fail_over_from_lost_site(&item).await?;
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.advance(Millis(INTERVAL.0 * 5 / 2)).await;
    has_no_difference(testbed, rules, &item).await?;
    testbed.fail_back(&item).await?;
    Ok(check_returned(rules, FX_42, testbed, ("web", &testbed.primary))?)
}

async fn has_no_difference(testbed: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), EarlyEnd> {
    let found = verify(testbed, rules, (FX_42, item)).await?;
    let none = found.different == Bytes(0);
    rules.check(FX_42, none, format!("the replica lacks nothing, the verification says {found:?}"));
    Ok(())
}

async fn map_lies(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    needs_verification(testbed).await?;
    testbed.install(&with_few_writes()).await?;
    testbed.advance(AWHILE).await;
    testbed.primary.inject(&SimFault::AllocationLies);
    let request = simulator::testbed::enable_request("web");
    testbed.completed(testbed.core.enable_protection(&request).await).await?;
    testbed.wait_for_points(&request.item, 2).await?;
    testbed.wait_until_idle().await?;
    let newest = testbed.newest_point(&request.item).await?;
    let wrong = !is_state_of_source(testbed, &newest)?;
    let found = verify(testbed, rules, (FX_45, &request.item)).await?;
    testbed.primary.heal();
    let held = !wrong || found.different.0 > 0;
    rules.check(FX_45, held, format!("the first copy is wrong: {wrong}; the verification says {found:?}"));
    point_after(testbed, &request.item, found.at).await?;
    is_exact(testbed, rules, FX_45, &request.item).await
}

async fn everything_changed(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.inject(&SimFault::TrackerLies(TrackerLie::NamesEverything));
    let began = testbed.world.clock().now();
    testbed.advance(AWHILE).await;
    let points = testbed.processed_points(&item).await?;
    let new = points.iter().filter(|point| point.time > began).count();
    let found = format!("in ten intervals in which everything was reported, {new} points were made");
    rules.check(FX_46, new >= 5, found);
    is_exact(testbed, rules, FX_46, &item).await
}

/// Fails over to the latest point and records whether the copy is exact.
async fn is_exact(
    testbed: &Testbed,
    rules: &mut RuleLog,
    rule: RuleId,
    item: &ItemId,
) -> Result<(), EarlyEnd> {
    testbed.primary.lose();
    let failed_over = testbed.fail_over(item, PointChoice::Latest).await;
    failed_over.map_err(|end| against(rules, rule, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, rule, &testbed.boots("web")?)
}

/// Ends the check, under the name of what the core lacks, if it cannot verify.
async fn needs_verification(testbed: &Testbed) -> Result<(), EarlyEnd> {
    let can = testbed.core.capabilities().await?.operations.contains(&Operation::Verify);
    if can {
        return Ok(());
    }
    // The gate in front of the core notes what was needed.
    let refused = testbed.core.verify(&"none".into()).await;
    Err(refused.err().map_or_else(|| missing("the refusal of a verification"), Into::into))
}

/// Verifies an item. Returns what the core shows of it.
async fn verify(
    testbed: &Testbed,
    rules: &mut RuleLog,
    (rule, item): (RuleId, &ItemId),
) -> Result<Verification, EarlyEnd> {
    let asked = testbed.world.clock().now();
    let job = testbed.completed(testbed.core.verify(item).await).await;
    succeeds(rules, (rule, "a verification"), job)?;
    let shown = testbed.item(item).await?.verification;
    let found = shown.ok_or_else(|| missing("the result of the verification"))?;
    let view = testbed.item(item).await?;
    let (site, machine) = match view.protection.active {
        Side::Primary => (&testbed.primary, view.primary.1),
        Side::Recovery => (&testbed.recovery, view.recovery.1),
    };
    let disks = testbed.machine_at(site, &machine.0).await?.disks;
    let sizes = disks.iter().filter_map(|disk| Some(site.snapshot(&disk.volume)?.size()));
    let size: u64 = sizes.sum();
    let whole = found.compared.0 >= size && found.at >= asked;
    rules.check(rule, whole, format!("asked at {asked:?} for {size} bytes, the result is {found:?}"));
    Ok(found)
}

/// Waits for a processed point of a moment at or after this one.
async fn point_after(testbed: &Testbed, item: &ItemId, moment: Timestamp) -> Result<RecoveryPoint, EarlyEnd> {
    for _ in 0..20 {
        let newest = testbed.newest_point(item).await?;
        if newest.time >= moment {
            return Ok(newest);
        }
        testbed.advance(INTERVAL).await;
    }
    Err(missing("a point of later"))
}

/// Whether the disks of a point hold exactly what the source had written at some moment of its last
/// boot.
fn is_state_of_source(testbed: &Testbed, point: &RecoveryPoint) -> Result<bool, EarlyEnd> {
    let source = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let disks = testbed.point_content(&testbed.recovery, point)?;
    Ok(matches!(cut_of(&source.bases(), &source.log(), &disks, &[]), Cut::Exact(_)))
}

/// The newest points, which no retention may drop meanwhile, with their content.
async fn contents(testbed: &Testbed, item: &ItemId) -> Result<Vec<(RecoveryPoint, Vec<Snapshot>)>, EarlyEnd> {
    let mut all = Vec::new();
    for point in testbed.processed_points(item).await?.into_iter().rev().take(5) {
        let content = testbed.point_content(&testbed.recovery, &point)?;
        all.push((point, content));
    }
    Ok(all)
}

/// Records whether these points are still there, with the same content.
async fn stay(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    before: &[(RecoveryPoint, Vec<Snapshot>)],
) -> Result<(), EarlyEnd> {
    let now = testbed.processed_points(item).await?;
    for (point, content) in before {
        let listed = now.iter().any(|other| other.id == point.id);
        let same = listed && same_content(&testbed.point_content(&testbed.recovery, point)?, content);
        rules.check(FX_43, same, format!("{} is there and unchanged: {same}", point.id));
    }
    Ok(())
}
