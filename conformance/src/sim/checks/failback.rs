//! The way back to VMware and the way out again: reprotection, failback, and what is left of the copy (RE, FB).

use std::collections::BTreeSet;

use contract::{
    Consistency, Direction, DiskView, ErrorCode, FailoverRequest, JobKind, Millis, Phase, Platform,
    PointChoice, Policy, PowerState, Side, Step,
};
use simulator::{Link, SimSite};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::said;
use crate::sim::side_effects::{rested, step, whole};
use crate::sim::testbed::{BOOT, HOUR, INTERVAL, Setup, Testbed, broken, cloud, quiet, request};

/// Granularity in which differences travel, in bytes.
const GRAIN: u64 = 64 * 1024;

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a VMware machine goes out, comes back and is ready to go again, and nothing is lost on the way",
        rules: &[
            FB_01, FB_06, FB_07, FB_08, FB_09, FB_11, FB_12, FB_14, IN_01, LC_06, LC_09, LC_10, LC_12, RE_01,
            RE_02, RE_03, RE_29,
        ],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(there_and_back(lab, rules)),
    },
    Check {
        name: "to a machine that is there only differences travel, onto its own disks",
        rules: &[FB_09, RE_04, RE_26, RE_30],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(differences(lab, rules)),
    },
    Check {
        name: "snapshots of the machine are merged by its reprotection",
        rules: &[RE_09],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(snapshots(lab, rules)),
    },
    Check {
        name: "a machine can come back to its newest point with the applications at rest",
        rules: &[FB_04, RP_18],
        setup: || {
            let five = Millis(5 * INTERVAL.0);
            Setup::vmware().under(|policy| Policy { interval: five, most_points: None, ..policy })
        },
        body: |lab, rules| Box::pin(at_rest(lab, rules)),
    },
];

async fn there_and_back(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    let out = FailoverRequest {
        shut_down_source: true,
        ..request(&item, Direction::PrimaryToRecovery, PointChoice::Latest)
    };
    lab.completed(lab.core.failover(&out).await).await?;
    let (source, target) = lab.boots("web")?;
    rules.check(LC_09, whole(&source, &target)?, "out with a shutdown: nothing is lost");
    lab.commit(&item).await?;
    lab.live(INTERVAL).await;
    let original = lab.primary.machine(&"web".into()).await.map_err(broken)?;

    reprotected(lab, rules).await?;
    lab.points(&item, 3).await?;
    let view = lab.item(&item).await?;
    let back = view.protection.phase == Phase::Protected && view.protection.active == Side::Recovery;
    rules.check(
        RE_01,
        back && !view.points.is_empty(),
        format!("{:?}, {} points", view.protection, view.points.len()),
    );

    let views = lab.recovery.snapshots_taken(&cloud(&"web".into()));
    let job = lab.fail_back(&item).await?;
    let unplanned = job.kind == JobKind::UnplannedFailover && job.direction == Direction::RecoveryToPrimary;
    rules.check(FB_14, unplanned, format!("the job is {:?}, {:?}", job.kind, job.direction));
    came_back(lab, rules, views).await?;
    let now = lab.primary.machine(&"web".into()).await.map_err(broken)?;
    let same = (&now.uuid, &now.disks) == (&original.uuid, &original.disks);
    rules.check(FB_09, same, "it is the same machine, on the same disks");
    let copy = lab.copy_of("web").await.map(|copy| copy.power);
    let at = lab.item(&item).await?.protection;
    rules.check(FB_12, copy == Ok(PowerState::Off), format!("before commit the copy is {copy:?}"));
    rules.check(LC_12, at.active == Side::Primary && copy == Ok(PowerState::Off), format!("{at:?}"));

    let commit = lab.commit(&item).await?;
    let gone = lab.recovery.machines().await.map_err(broken)?.is_empty();
    rules.check(FB_11, gone && commit.kind == JobKind::Commit, "after commit there is no copy");
    unprotected(lab, rules).await?;
    out_again(lab, rules).await
}

/// Reprotection of a machine whose original was switched on by hand.
async fn reprotected(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = "item-web".into();
    lab.primary.start(&"web".into()).await.map_err(broken)?;
    lab.live(BOOT).await;
    let (source, target) = lab.boots("web")?;
    let (began, acked) = (lab.world.clock().now(), target.acks().len());
    lab.recovery.set_link(Link { latency: INTERVAL, ..Link::default() });
    let job = lab.core.reprotect(&lab.way_back(&item, &lab.primary)).await.map_err(said)?;
    let codes = [ErrorCode::NoRecoveryPoint, ErrorCode::NotAllowedInState, ErrorCode::Busy];
    let home = request(&item, Direction::RecoveryToPrimary, PointChoice::Latest);
    let asked = (FB_01, "a failback before there is a point to go to");
    lab.forbids(rules, asked, &codes, lab.core.failover(&home)).await?;
    let job = lab.completed(Ok(job)).await?;
    lab.recovery.set_link(Link::default());
    let right = job.kind == JobKind::Reprotect && job.direction == Direction::RecoveryToPrimary;
    rules.check(RE_01, right, format!("the job is {:?}, {:?}", job.kind, job.direction));
    let written = lab
        .primary
        .trace()
        .into_iter()
        .find(|event| event.at >= began && event.what.starts_with("ExportVolume:"));
    let off = source.ended().map(|(at, _)| at);
    let first = off.zip(written).is_some_and(|(off, written)| off <= written.at);
    let power = lab.primary.machine(&"web".into()).await.map_err(broken)?.power;
    let found = format!("the original went off at {off:?} and is {power:?}");
    rules.check(RE_02, first && power == PowerState::Off, found);
    let (_, target) = lab.boots("web")?;
    let more = target.acks().len() - acked;
    rules.check(
        RE_03,
        more > 0 && target.ended().is_none(),
        format!("{more} records while it was reprotected"),
    );
    Ok(())
}

/// The copy was off before the machine was on, and nothing was transferred any more.
async fn came_back(lab: &Testbed, rules: &mut RuleLog, views: u64) -> Result<(), String> {
    let source = lab.recovery.last_boot(&cloud(&"web".into())).ok_or("there was no copy")?;
    let target = lab.primary.last_boot(&"web".into()).ok_or("it never came up")?;
    let apart = source.ended().is_some_and(|(off, _)| off <= target.started);
    rules.check(
        FB_06,
        apart,
        format!("the copy ended {:?}, the machine began {:?}", source.ended(), target.started),
    );
    rules.check(LC_10, apart, "at no moment did both run");
    let away = source.ended().zip(target.up.as_ref().ok()).map(|((off, _), up)| up.since(off));
    rules.check(FB_08, away.is_some(), format!("the service was away for {}", away.unwrap_or_default()));
    let later =
        |event: &simulator::Event| event.at > target.started && event.what.starts_with("OpenSnapshot");
    let busy = lab.recovery.trace().iter().filter(|event| later(event)).count();
    let last = lab.recovery.snapshots_taken(&source.machine) > views;
    rules.check(FB_07, busy == 0 && last, format!("{busy} transfers after the machine was on"));
    rules.check(LC_09, lab.came_back("web", &lab.primary)?, "back: nothing is lost");
    Ok(())
}

/// Failed back and committed, nothing replicates (LC-06).
async fn unprotected(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let views = lab.primary.snapshots_taken(&"web".into());
    lab.live(Millis(3 * INTERVAL.0)).await;
    let more = lab.primary.snapshots_taken(&"web".into()) - views;
    let view = lab.item(&"item-web".into()).await?;
    let idle = more == 0 && view.points.is_empty() && view.protection.phase == Phase::Committed;
    rules.check(LC_06, idle, format!("{:?}, {more} views in three intervals", view.protection));
    Ok(())
}

/// The last stage: it replicates to the cloud, though nothing of the way back is left there, and goes once more.
async fn out_again(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = "item-web".into();
    lab.recovery.components().remove("cloud-process-server");
    lab.recovery.components().disconnect("private-link");
    let good = lab.way_out(&item, &lab.primary);
    let without = contract::ReprotectRequest { process_server: None, ..good.clone() };
    let asked = (RE_29, "the way out again without a process server");
    let codes = [ErrorCode::ProcessServerNotGiven];
    lab.forbids(rules, asked, &codes, lab.core.reprotect(&without)).await?;
    lab.reprotect(&good).await?;
    rules.check(IN_01, true, "the process server in the cloud may be gone by then");
    let points = lab.points(&item, 3).await?.points.len();
    lab.primary.lose();
    lab.fail_over(&item, PointChoice::Latest).await?;
    lab.live(BOOT).await;
    let (_, target) = lab.boots("web")?;
    let writes = lab.recovered("web")?.0;
    let ready = points > 0 && target.up.is_ok();
    rules.check(RE_29, ready, format!("{points} points, and a second failover with {writes} writes"));
    Ok(())
}

/// What differs between the copy's disks and others, in bytes, as it travels.
async fn differing(lab: &Testbed, others: &[DiskView]) -> Result<u64, String> {
    let mut grains = 0;
    for (here, there) in lab.copy_of("web").await?.disks.iter().zip(others) {
        let read =
            |site: &SimSite, disk: &DiskView| site.snapshot(&disk.volume).ok_or("a disk cannot be read");
        let (here, there) = (read(&lab.recovery, here)?, read(&lab.primary, there)?);
        let places = here.differences(&there, 512).into_iter().map(|offset| offset / GRAIN);
        grains += places.collect::<BTreeSet<_>>().len() as u64;
    }
    Ok(grains * GRAIN)
}

async fn differences(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.go_out(&item).await?;
    let own = lab.primary.machine(&"web".into()).await.map_err(broken)?;
    let most = differing(lab, &own.disks).await?;
    let mut wanted = lab.way_back(&item, &lab.primary);
    wanted.datastore = Some("datastore-2".into());
    let job = lab.reprotect(&wanted).await?;
    let made = step(&job, Step::CREATE_MACHINE).is_some();
    let points = lab.points(&item, 1).await?.points;
    let first = points.first().ok_or("there is no point")?.transferred.0;
    let took = job.ended.map(|ended| ended.since(job.started));
    rules.check(RE_30, took.is_some(), format!("it took {} for {first} bytes", took.unwrap_or_default()));
    let found = format!("{first} bytes travelled, {most} differed");
    rules.check(RE_04, first <= most && most > 0 && !made, found);
    lab.fail_back(&item).await?;
    let whole = lab.came_back("web", &lab.primary)?;
    let now = lab.primary.machine(&"web".into()).await.map_err(broken)?;
    let same = (&now.uuid, &now.disks) == (&own.uuid, &own.disks);
    rules.check(FB_09, same && whole, "it came back to the same machine and disks, whole");
    rules.check(RE_04, same, "the disks are the same files");
    for disk in &now.disks {
        let at = lab.primary.volume(&disk.volume).await.map_err(broken)?.datastore;
        let stayed = at == Some("datastore-1".into());
        rules.check(RE_26, stayed, format!("{} is in {at:?}, though another was named", disk.volume));
    }
    Ok(())
}

async fn snapshots(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.go_out(&item).await?;
    let own = lab.primary.machine(&"web".into()).await.map_err(broken)?.disks;
    for _ in 0..2 {
        lab.primary.snapshot_machine(&"web".into()).map_err(broken)?;
    }
    let job = lab.reprotect(&lab.way_back(&item, &lab.primary)).await?;
    let told = step(&job, Step::MERGE_SNAPSHOTS).is_some();
    let now = lab.primary.machine(&"web".into()).await.map_err(broken)?;
    let merged = now.snapshots == 0 && now.disks == own;
    rules.check(RE_09, told && merged, format!("{} snapshots are left; told: {told}", now.snapshots));
    lab.points(&item, 2).await?;
    lab.fail_back(&item).await?;
    rules.check(RE_09, lab.came_back("web", &lab.primary)?, "and it comes back whole");
    Ok(())
}

async fn at_rest(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect_as(quiet("web"), None).await?;
    lab.points(&item, 2).await?;
    lab.fail_over(&item, PointChoice::Latest).await?;
    lab.commit_and_reprotect(&item).await?;
    lab.live(Millis(5 * HOUR.0 / 2)).await;
    let points = lab.processed(&item).await?;
    let newest = points.iter().rfind(|point| point.consistency == Consistency::App);
    let newest = newest.ok_or("no point was taken with the applications at rest")?.clone();
    let older = points.last().is_some_and(|point| point.id != newest.id);
    let home = request(&item, Direction::RecoveryToPrimary, PointChoice::LatestAppConsistent);
    let job = lab.completed(lab.core.failover(&home).await).await?;
    let chosen = lab.item(&item).await?.failed_over_to;
    let right = older && chosen.as_ref() == Some(&newest.id);
    rules.check(FB_04, right, format!("{chosen:?} was chosen, {} is the newest at rest", newest.id));
    let source = lab.recovery.last_boot(&cloud(&"web".into())).ok_or("there was no copy")?;
    let target = lab.primary.last_boot(&"web".into()).ok_or("it never came up")?;
    let rest = rested(&source, &target)?;
    rules.check(FB_04, rest, format!("its last write is a quiesce mark: {rest}"));
    let age = job.started.since(newest.time);
    rules.check(RP_18, age > Millis(0), format!("the point was {age} old, and the rest is an exact prefix"));
    Ok(())
}
