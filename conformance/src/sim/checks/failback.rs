//! Reprotection, failback and reprotection of VMware machines, and what remains of the cloud
//! machine (RE, FB).

use std::collections::BTreeSet;

use contract::{
    Consistency, DiskView, ErrorCode, FailoverRequest, JobKind, Millis, Phase, Platform, PointChoice, Policy,
    PowerState, RecoveryPoint, ReprotectRequest, Side, Step,
};
use simulator::Link;
use simulator::testbed::{
    BACK, BOOT, Boots, HOUR, INTERVAL, OUT, cloud_machine, failover_with_shutdown, item_of, kept,
    low_write_machine, volume_content,
};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, check_that, missing, step, succeeds};
use crate::sim::disks::{check_age, check_freshness, power_of_copy};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

/// The largest piece in which a core transfers differences, in bytes.
const GRAIN: u64 = RecoveryPoint::LARGEST_PIECE.0;
/// How much the time that a job shows may differ from the measured one.
const TIME_TOLERANCE: Millis = Millis(5_000);

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a VMware machine fails over, fails back and can fail over again, and loses nothing",
        &[
            FB_01, FB_06, FB_07, FB_08, FB_09, FB_11, FB_12, FB_14, IN_01, LC_06, LC_09, LC_10, LC_12, RE_01,
            RE_02, RE_03, RE_29,
        ],
        Setup::vmware,
        full_round
    ),
    check!(
        "reprotection to an existing machine transfers only differences, to the machine's own disks",
        &[FB_09, RE_04, RE_26, RE_30],
        Setup::vmware,
        differences
    ),
    check!("reprotection merges snapshots of the machine", &[RE_09], Setup::vmware, merges_snapshots),
    check!(
        "a machine can fail back to its newest application-consistent point",
        &[FB_04, FO_10, RP_18],
        || {
            let five = Millis(5 * INTERVAL.0);
            Setup::vmware().with_policy(|policy| Policy { interval: five, most_points: None, ..policy })
        },
        to_app_consistent_point
    ),
];

async fn full_round(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.completed(testbed.core.failover(&failover_with_shutdown(&item)).await).await?;
    let complete = testbed.boots("web")?.is_complete();
    check_that(rules, LC_09, complete, "a failover with a shutdown loses nothing");
    testbed.commit(&item).await?;
    testbed.advance(INTERVAL).await;
    let original = testbed.machine_at(&testbed.primary, "web").await?;

    reprotects_back(testbed, rules).await?;
    testbed.wait_for_points(&item, 3).await?;
    let view = testbed.item(&item).await?;
    let replicates = view.protection.phase == Phase::Protected && view.protection.active == Side::Recovery;
    let found = format!("{:?}, {} points", view.protection, view.points.len());
    rules.check(RE_01, replicates && !view.points.is_empty(), found);

    let snapshots = testbed.recovery.snapshots_taken(&cloud_machine("web"));
    let job = testbed.fail_back(&item).await?;
    let right = job.kind == JobKind::UnplannedFailover && job.direction == BACK;
    rules.check(FB_14, right, format!("the failback's job is {:?}, {:?}", job.kind, job.direction));
    fails_back_in_order(testbed, rules, snapshots)?;
    let now = testbed.machine_at(&testbed.primary, "web").await?;
    let same = (&now.uuid, &now.disks) == (&original.uuid, &original.disks);
    rules.check(FB_09, same, format!("it is the same machine with the same disks: {same}"));
    let copy = power_of_copy(testbed).await?;
    let is_off = copy == Some(PowerState::Off);
    let at = testbed.item(&item).await?.protection;
    rules.check(FB_12, is_off, format!("before commit the cloud machine is {copy:?}"));
    let found = format!("{at:?}, and the cloud machine is {copy:?}");
    rules.check(LC_12, at.active == Side::Primary && copy != Some(PowerState::On), found);

    let commit = testbed.commit(&item).await?;
    let machines = testbed.recovery.machines().await?.len();
    let found = format!("after {:?} there are {machines} cloud machines", commit.kind);
    rules.check(FB_11, machines == 0 && commit.kind == JobKind::Commit, found);
    stays_unprotected(testbed, rules).await?;
    fails_over_again(testbed, rules).await
}

/// Reprotects a machine whose original was started by hand: the core stops the original before it
/// writes to its disks.
async fn reprotects_back(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = item_of("web");
    kept("the original machine", testbed.primary.start(&"web".into()).await)?;
    testbed.advance(BOOT).await;
    let Boots { source, target } = testbed.boots("web")?;
    let began = testbed.world.clock().now();
    let records_before = target.acks().len();
    testbed.recovery.set_link(Link { latency: INTERVAL, ..Link::default() });
    let job = testbed.core.reprotect(&testbed.reprotection(&item, BACK)).await?;
    let codes = [ErrorCode::NoRecoveryPoint, ErrorCode::NotAllowedInState, ErrorCode::Busy];
    let request = FailoverRequest::unplanned(&item, BACK);
    let what = (FB_01, "a failback without a recovery point");
    forbids(testbed, rules, what, &codes, testbed.core.failover(&request)).await?;
    let job = testbed.completed(&job).await;
    testbed.recovery.set_link(Link::default());
    let trace = testbed.primary.trace();
    let mut exports = trace.iter().filter(|event| event.what.starts_with("ExportVolume:"));
    let first_export = exports.find(|event| event.at >= began);
    let off = source.ended().map(|(at, _)| at);
    let off_first = off.is_some_and(|off| first_export.is_none_or(|export| off <= export.at));
    let power = testbed.machine_at(&testbed.primary, "web").await?.power;
    let found = format!("the original was stopped at {off:?} and is {power:?}");
    rules.check(RE_02, off_first && power == PowerState::Off, found);
    let job = job?;
    let right = job.kind == JobKind::Reprotect && job.direction == BACK;
    rules.check(RE_01, right, format!("the job is {:?}, {:?}", job.kind, job.direction));
    let Boots { target, .. } = testbed.boots("web")?;
    let more = target.acks().len() - records_before;
    let found = format!("the cloud machine wrote {more} records during the reprotection");
    rules.check(RE_03, more > 0 && target.ended().is_none(), found);
    Ok(())
}

/// The cloud machine was off before the original was started, and nothing was transferred after
/// that. `snapshots`: how many there were of the cloud machine before the failback.
fn fails_back_in_order(testbed: &Testbed, rules: &mut RuleLog, snapshots: u64) -> Result<(), EarlyEnd> {
    let boots = testbed.failback_boots("web", &testbed.primary)?;
    let Boots { source, target } = &boots;
    let apart = boots.never_overlap();
    let found = format!(
        "the cloud machine ended {:?}, the original was started {:?}",
        source.ended(),
        target.started
    );
    rules.check(FB_06, apart, found.clone());
    rules.check(LC_10, apart, found);
    let downtime = source.ended().zip(target.up.as_ref().ok()).map(|((off, _), up)| up.since(off));
    let found = format!("the service was down for {}", downtime.unwrap_or_default());
    rules.check(FB_08, downtime.is_some(), found);
    let later =
        |event: &simulator::Event| event.at > target.started && event.what.starts_with("OpenSnapshot");
    let transfers = testbed.recovery.trace().iter().filter(|event| later(event)).count();
    let last_transfer = testbed.recovery.snapshots_taken(&source.machine) > snapshots;
    let found =
        format!("a last transfer: {last_transfer}; {transfers} transfers after the original was started");
    rules.check(FB_07, transfers == 0 && last_transfer, found);
    check_that(rules, LC_09, testbed.came_back("web", &testbed.primary)?, "the failback loses nothing");
    Ok(())
}

/// After a failback and its commit nothing replicates (LC-06).
async fn stays_unprotected(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let before = testbed.primary.snapshots_taken(&"web".into());
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let more = testbed.primary.snapshots_taken(&"web".into()) - before;
    let view = testbed.item(&item_of("web")).await?;
    let idle = more == 0 && view.points.is_empty() && view.protection.phase == Phase::Committed;
    rules.check(LC_06, idle, format!("{:?}, {more} snapshots in three intervals", view.protection));
    Ok(())
}

/// The machine is protected and fails over once more, without the components that a failback needs
/// in the cloud.
async fn fails_over_again(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = item_of("web");
    testbed.recovery.components().remove("cloud-process-server");
    testbed.recovery.components().disconnect("private-link");
    let good = testbed.reprotection(&item, OUT);
    let without = ReprotectRequest { process_server: None, ..good.clone() };
    let what = (RE_29, "a reprotection to the cloud without a process server");
    let codes = [ErrorCode::ProcessServerNotGiven];
    forbids(testbed, rules, what, &codes, testbed.core.reprotect(&without)).await?;
    let what = "a reprotection to the cloud without the process server in the cloud";
    succeeds(rules, (IN_01, what), testbed.reprotect(&good).await)?;
    let points = testbed.wait_for_points(&item, 3).await?.points.len();
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.advance(BOOT).await;
    let boots = testbed.boots("web")?;
    let writes = boots.contained()?.writes;
    let ready = points > 0 && boots.target.up.is_ok();
    rules.check(RE_29, ready, format!("{points} points, and a second failover with {writes} writes"));
    Ok(())
}

/// How much of the cloud machine's disks differs from others, in bytes, in the granularity of
/// transfers.
async fn differing(testbed: &Testbed, others: &[DiskView]) -> Result<u64, EarlyEnd> {
    let mut grains = 0;
    for (here, there) in testbed.copy_of("web").await?.disks.iter().zip(others) {
        let here = volume_content(&testbed.recovery, &here.volume)?;
        let there = volume_content(&testbed.primary, &there.volume)?;
        let different = here.differences(&there, 512).into_iter().map(|offset| offset / GRAIN);
        grains += different.collect::<BTreeSet<_>>().len() as u64;
    }
    Ok(grains * GRAIN)
}

async fn differences(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let original = testbed.machine_at(&testbed.primary, "web").await?;
    let differing = differing(testbed, &original.disks).await?;
    let request = testbed.reprotection(&item, BACK);
    let request = ReprotectRequest { datastore: Some("datastore-2".into()), ..request };
    let before = testbed.primary.written().0;
    let asked = testbed.world.clock().now();
    let job = testbed.reprotect(&request).await?;
    let measured = testbed.world.clock().now().since(asked);
    let made = step(&job, Step::CREATE_MACHINE).is_some();
    testbed.wait_for_points(&item, 1).await?;
    let first = testbed.primary.written().0 - before;
    let shown = job.ended.map(|ended| ended.since(job.started));
    let agrees = shown.is_some_and(|shown| shown.0.abs_diff(measured.0) <= TIME_TOLERANCE.0);
    let found = format!("it took {measured} for {first} bytes; the job shows {shown:?}");
    rules.check(RE_30, agrees, found);
    let found = format!("{first} bytes arrived, {differing} differed; a machine was made: {made}");
    rules.check(RE_04, first <= differing && differing > 0 && !made, found);
    testbed.fail_back(&item).await?;
    let complete = testbed.came_back("web", &testbed.primary)?;
    let now = testbed.machine_at(&testbed.primary, "web").await?;
    let same = (&now.uuid, &now.disks) == (&original.uuid, &original.disks);
    let found = format!("the same machine and disks: {same}; complete: {complete}");
    rules.check(FB_09, same && complete, found);
    rules.check(RE_04, same, format!("the disks are the same files: {same}"));
    for disk in &now.disks {
        let volume = kept("a disk of the original", testbed.primary.volume(&disk.volume).await)?;
        let stayed = volume.datastore == Some("datastore-1".into());
        let found =
            format!("{} is in {:?}, though the request names datastore-2", disk.volume, volume.datastore);
        rules.check(RE_26, stayed, found);
    }
    Ok(())
}

async fn merges_snapshots(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let disks = testbed.machine_at(&testbed.primary, "web").await?.disks;
    for _ in 0..2 {
        kept("the original machine", testbed.primary.snapshot_machine(&"web".into()))?;
    }
    let job = testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    let shown = step(&job, Step::MERGE_SNAPSHOTS).is_some();
    let now = testbed.machine_at(&testbed.primary, "web").await?;
    let merged = now.snapshots == 0 && now.disks == disks;
    let found = format!("{} snapshots remain; the job shows the merge: {shown}", now.snapshots);
    rules.check(RE_09, shown && merged, found);
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    check_that(rules, RE_09, testbed.came_back("web", &testbed.primary)?, "the failback is complete");
    Ok(())
}

async fn to_app_consistent_point(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&low_write_machine("web")).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.commit_and_reprotect(&item).await?;
    testbed.advance(Millis(5 * HOUR.0 / 2)).await;
    testbed.wait_until_idle().await?;
    let points = testbed.processed_points(&item).await?;
    // Newer ones are crash-consistent, unless the core makes none of that kind.
    let newest = points.into_iter().rfind(|point| point.consistency == Consistency::App);
    let newest = newest.ok_or_else(|| missing("an application-consistent point"))?;
    let point = PointChoice::LatestAppConsistent;
    let request = FailoverRequest { point, ..FailoverRequest::unplanned(&item, BACK) };
    let asked = testbed.world.clock().now();
    testbed.completed(testbed.core.failover(&request).await).await?;
    let chosen = testbed.item(&item).await?.failed_over_to;
    let found = format!("{chosen:?} was chosen, {} is the newest application-consistent point", newest.id);
    rules.check(FB_04, chosen.as_ref() == Some(&newest.id), found);
    let boots = testbed.failback_boots("web", &testbed.primary)?;
    check_freshness(rules, &boots, &newest)?;
    let quiesced = boots.is_quiesced()?;
    rules.check(FB_04, quiesced, format!("the last write on its disks is a quiesce mark: {quiesced}"));
    check_age(rules, &boots, &newest, asked)?;
    Ok(())
}
