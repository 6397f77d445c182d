//! Which recovery points can be chosen, and what each choice means (RP).

use std::collections::BTreeMap;

use contract::{
    Consistency, ErrorCode, ItemId, JobView, Millis, PointChoice, Policy, RecoveryPoint, Step, Timestamp,
};
use simulator::testbed::{HOUR, INTERVAL, POLICY, failover_to, item_of, low_write_machine};
use simulator::{Call, Link, SimProfile, Snapshot, durable_before};

use super::policies::failback_policy_of;
use crate::rules::ids::*;
use crate::rules::profile::Profile;
use crate::rules::{RuleId, RuleLog};
use crate::sim::check::{Check, against, check, missing, step, succeeds};
use crate::sim::disks::check_age;
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::{failover_refusal, refused};
use crate::sim::testbed::{Setup, Testbed};

const LATEST: &[RuleId] = &[RP_02, RP_04, RP_05, RP_15];
/// What a core lacks whose recovery points are complete when they are received.
const SEPARATE_PROCESSING: &str = "separate-processing";

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "latest processes what was received before it fails over, latest-processed does not",
        LATEST,
        Setup::vmware,
        latest_and_latest_processed
    ),
    check!(
        "latest covers what was received when it was asked for, and nothing that was queued at the source",
        &[RP_03],
        Setup::vmware,
        nothing_queued
    ),
    check!(
        "an application-consistent point was taken with the applications quiesced, and may be older than the newest",
        &[RP_06, RP_18, RP_19],
        || Setup::vmware()
            .with_policy(|policy| Policy { app_consistent_every: Some(intervals(5)), ..policy }),
        app_consistent
    ),
    check!(
        "choices that a machine does not have are refused, and accepted once they are enabled",
        &[RP_01, RP_06, RP_07, RP_10],
        Setup::vmware,
        choices
    ),
    check!(
        "points of Hyper-V machines can be chosen until their longest retention ends",
        &[RP_12, RP_14],
        || hourly(SimProfile::HYPERV),
        window(RP_12, Profile::active().hyperv_retention_max_hours())
    ),
    check!(
        "points of VMware machines can be chosen until their longest retention ends",
        &[RP_13, RP_14, PO_06],
        || hourly(SimProfile::VMWARE),
        window(RP_13, Profile::active().vmware_retention_max_hours())
    ),
    check!(
        "a point keeps its content while older points are merged",
        &[RP_20],
        || Setup::vmware().with_policy(|p| Policy { interval: Millis(HOUR.0 / 4), most_points: None, ..p }),
        keeps_content
    ),
];

fn intervals(count: u64) -> Millis {
    Millis(count * INTERVAL.0)
}

fn hourly(profile: SimProfile) -> Setup {
    Setup::of(profile).with_policy(|policy| Policy {
        interval: HOUR,
        most_points: None,
        rpo_threshold: intervals(120),
        ..policy
    })
}

async fn latest_and_latest_processed(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    for machine in ["a", "b"] {
        let item = testbed.protect(machine).await?;
        testbed.wait_for_points(&item, 3).await?;
    }
    // Processing that has begun is over before it is stalled.
    testbed.wait_until_idle().await?;
    testbed.stall_processing();
    let stalled = testbed.world.clock().now();
    let attempts = testbed.recovery.calls(Call::DeriveVolume);
    testbed.advance(intervals(3)).await;
    testbed.wait_until_idle().await?;
    let newest = testbed.newest_point(&item_of("a")).await?;
    let goes_on = testbed.recovery.calls(Call::DeriveVolume) == attempts && newest.time > stalled;
    if goes_on || !holds_received(testbed, stalled).await? {
        // A point of this core is complete when it is received, so nothing can be held up between.
        LATEST.iter().for_each(|rule| rules.skip(*rule, SEPARATE_PROCESSING));
        return Ok(());
    }
    testbed.primary.lose();
    let processed = fail_over_stalled(testbed, rules, "a", PointChoice::LatestProcessed).await?;
    let latest = fail_over_stalled(testbed, rules, "b", PointChoice::Latest).await?;
    let found = format!(
        "latest-processed loses {} records and starts the machine after {}, latest loses {} and takes {}",
        processed.lost, processed.took, latest.lost, latest.took
    );
    rules.check(RP_05, latest.lost < processed.lost && processed.took.0 <= latest.took.0 + NEARLY.0, found);
    Ok(())
}

/// Whether the core has received anything that it has not processed, of what was taken since
/// processing was stalled. A core that writes what it reads straight into a new point receives
/// nothing while it cannot make one.
///
/// # Errors
/// Nothing tells: the core acknowledges no snapshot, has read some, and shows no point of them.
async fn holds_received(testbed: &Testbed, stalled: Timestamp) -> Result<bool, EarlyEnd> {
    let mut is_known = true;
    for machine in ["a", "b"] {
        if testbed.item(&item_of(machine)).await?.points.iter().any(|point| !point.processed) {
            return Ok(true);
        }
        let machine = machine.into();
        let closed = testbed.snapshots_closed(&testbed.primary, &machine);
        if closed.iter().any(|(taken, is_acknowledged)| *is_acknowledged && *taken > stalled) {
            return Ok(true);
        }
        let acknowledges = closed.iter().any(|(_, is_acknowledged)| *is_acknowledged);
        is_known &= acknowledges || testbed.bytes_read(&testbed.primary, &machine, stalled) == 0;
    }
    if is_known {
        return Ok(false);
    }
    let why =
        "the core read changes and acknowledges nothing, so that nothing tells whether it received them";
    Err(EarlyEnd::inconclusive(why))
}

/// How much longer *latest processed* may take than *latest*: a core may still be occupied by an
/// attempt to process what was received.
const NEARLY: Millis = Millis(2_000);

/// What a failover led to, by the records of the sites.
struct Switch {
    /// How many acknowledged records the target lacks.
    lost: usize,
    /// Time from the request to the start of the target.
    took: Millis,
}

/// Asks for a failover while the link holds a transfer back at the source, and lets the transfer
/// through after the request.
async fn nothing_queued(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    let held = INTERVAL.0 / 2;
    testbed.primary.set_link(Link { latency: Millis(held), ..Link::default() });
    let due = last_taken(testbed, "web")?.0 + INTERVAL.0;
    let now = testbed.world.clock().now().0;
    testbed.advance(Millis((due + held / 2).saturating_sub(now))).await;
    let (received, sent) = (last_received(testbed, "web")?, last_taken(testbed, "web")?);
    let job = testbed.core.failover(&failover_to(&item, PointChoice::Latest)).await?;
    testbed.primary.set_link(Link::default());
    testbed.completed(&job).await?;
    let boots = testbed.boots("web")?;
    let log = boots.source.log();
    let least = durable_before(&log, received);
    let most = log.iter().take_while(|write| write.at <= sent).count();
    let (fewest, writes) = (boots.fewest_writes()?, boots.contained()?.writes);
    let found = format!(
        "{writes} of {} writes are recovered; the first {least} had been received, and no more than {most}",
        log.len()
    );
    rules.check(RP_03, writes >= least && fewest <= most && most < log.len(), found);
    Ok(())
}

/// When the last snapshot of a machine was taken, by its site's own record: what was written later
/// had not left the source.
fn last_taken(testbed: &Testbed, machine: &str) -> Result<Timestamp, EarlyEnd> {
    let taken = testbed.snapshot_times(&testbed.primary, &machine.into());
    taken.last().copied().ok_or_else(|| missing(format!("a snapshot of {machine}")))
}

/// When the last snapshot of a machine was taken that was received, by its site's own record.
fn last_received(testbed: &Testbed, machine: &str) -> Result<Timestamp, EarlyEnd> {
    let received = testbed.snapshots_received(&testbed.primary, &machine.into());
    received.last().copied().ok_or_else(|| missing(format!("a snapshot of {machine} that was received")))
}

/// Fails a machine over whose newest points are received and not processed.
async fn fail_over_stalled(
    testbed: &Testbed,
    rules: &mut RuleLog,
    machine: &str,
    choice: PointChoice,
) -> Result<Switch, EarlyEnd> {
    let item = item_of(machine);
    let points = testbed.item(&item).await?.points;
    let (unprocessed, processed): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| !point.processed);
    let newest = processed.last().ok_or_else(|| missing("a processed point"))?;
    let taken = testbed.snapshot_times(&testbed.primary, &machine.into());
    let is_real = |point: &&RecoveryPoint| taken.contains(&point.time) && point.time > newest.time;
    let real = unprocessed.iter().filter(is_real).count();
    let found = format!(
        "{} points are shown as received and not processed, {real} of them with the time of a snapshot \
         after the newest processed point",
        unprocessed.len()
    );
    rules.check(RP_15, unprocessed.len() >= 2 && real == unprocessed.len(), found);
    // The fault that stalls processing would also keep the core from building the target.
    testbed.recovery.heal();
    let asked = testbed.world.clock().now();
    let failed_over = testbed.fail_over(&item, choice.clone()).await;
    let job = failed_over.map_err(|end| against(rules, RP_05, end))?;
    let chosen = testbed.item(&item).await?.failed_over_to;
    let chose_processed = chosen.as_ref() == Some(&newest.id);
    if choice == PointChoice::Latest {
        latest(testbed, rules, machine, &job, chose_processed)?;
    } else {
        latest_processed(testbed, rules, machine, &job, newest, chose_processed)?;
    }
    let boots = testbed.boots(machine)?;
    let record = boots.contained()?.last_record;
    let lost = boots.source.acks().iter().filter(|ack| ack.number > record).count();
    Ok(Switch { lost, took: boots.target.started.since(asked) })
}

fn latest(
    testbed: &Testbed,
    rules: &mut RuleLog,
    machine: &str,
    job: &JobView,
    chose_processed: bool,
) -> Result<(), EarlyEnd> {
    let boots = testbed.boots(machine)?;
    let log = boots.source.log();
    let writes = boots.contained()?.writes;
    let last = last_received(testbed, machine)?;
    let received = durable_before(&log, last);
    let processes = step(job, Step::PROCESS_RECEIVED).is_some();
    let found =
        format!("{writes} writes are recovered, {received} were received; processing is shown: {processes}");
    rules.check(RP_02, !chose_processed && writes >= received && processes, found);
    Ok(())
}

fn latest_processed(
    testbed: &Testbed,
    rules: &mut RuleLog,
    machine: &str,
    job: &JobView,
    newest: &RecoveryPoint,
    chose_processed: bool,
) -> Result<(), EarlyEnd> {
    let boots = testbed.boots(machine)?;
    let log = boots.source.log();
    let writes = boots.contained()?.writes;
    let processes = step(job, Step::PROCESS_RECEIVED).is_some();
    let within = log.iter().take(boots.fewest_writes()?).all(|write| write.at <= newest.time);
    let found = format!(
        "{writes} writes are recovered, all of the point: {within}; processing is shown: {processes}"
    );
    rules.check(RP_04, chose_processed && !processes && within, found);
    Ok(())
}

async fn app_consistent(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 14).await?;
    // The newest point has to be crash-consistent, unless all points of the core are
    // application-consistent. Then this one is the newest of its kind.
    for _ in 0..14 {
        testbed.wait_until_idle().await?;
        if testbed.newest_point(&item).await?.consistency == Consistency::Crash {
            break;
        }
        testbed.advance(INTERVAL).await;
    }
    testbed.wait_until_idle().await?;
    let points = testbed.processed_points(&item).await?;
    let quiesced: Vec<_> = points.iter().filter(|point| point.consistency == Consistency::App).collect();
    let newest = quiesced.last().ok_or_else(|| missing("an application-consistent point"))?;
    let before = testbed.item(&item).await?;
    let asked = testbed.world.clock().now();
    let request = failover_to(&item, PointChoice::LatestAppConsistent);
    testbed.completed(testbed.core.failover(&request).await).await?;
    let chosen = testbed.item(&item).await?.failed_over_to;
    let found = format!(
        "{} of {} points are application-consistent, {} is the newest of them, chosen {chosen:?}",
        quiesced.len(),
        points.len(),
        newest.id
    );
    rules.check(RP_06, chosen.as_ref() == Some(&newest.id), found);
    let boots = testbed.boots("web")?;
    let marked = boots.is_quiesced()?;
    let found_inside = boots.target.found.as_ref().is_some_and(|found| found.ends_quiesced);
    let found = format!("the last write is a quiesce mark: {marked}; the guest finds it: {found_inside}");
    rules.check(RP_19, marked && found_inside, found);
    check_age(rules, &boots, newest, asked)?;
    testbed.check_recovery(&before, &PointChoice::LatestAppConsistent).await?;
    Ok(())
}

async fn choices(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let found = failover_refusal(testbed, &item, PointChoice::LatestAppConsistent).await?;
    let refused = found == Some(ErrorCode::AppConsistencyDisabled);
    rules.check(RP_06, refused, format!("without application-consistent points: {found:?}"));
    for choice in [PointChoice::LatestMultiVm, PointChoice::LatestMultiVmAppConsistent] {
        let found = failover_refusal(testbed, &item, choice.clone()).await?;
        let refused = found == Some(ErrorCode::MultiVmNeedsGroup);
        rules.check(RP_07, refused, format!("{choice:?} without a group: {found:?}"));
    }
    let found = failover_refusal(testbed, &item, PointChoice::Custom("nonsense".into())).await?;
    let refused = found == Some(ErrorCode::UnknownId);
    rules.check(RP_01, refused, format!("a point that never existed: {found:?}"));
    // The request that must be accepted: the same one once application-consistent points are taken.
    let enabled = Policy { app_consistent_every: Some(intervals(2)), ..testbed.policy };
    testbed.core.update_policy(&POLICY.into(), &enabled).await?;
    testbed.advance(intervals(5)).await;
    testbed.fail_over(&item, PointChoice::LatestAppConsistent).await?;
    rules.check(RP_06, true, "accepted once application-consistent points are enabled");
    let oldest = testbed.oldest_point(&item).await?.id;
    let change = PointChoice::Custom(oldest.clone());
    testbed.completed(testbed.core.change_point(&item, &change).await).await?;
    let chosen = testbed.item(&item).await?.failed_over_to;
    rules.check(
        RP_10,
        chosen == Some(oldest),
        format!("the machine's own point was chosen by name: {chosen:?}"),
    );
    Ok(())
}

/// Chooses a point on both sides of the end of the retention window: for the failover, and between
/// failover and commit.
async fn window(testbed: &Testbed, rules: &mut RuleLog, rule: RuleId, hours: u64) -> Result<(), EarlyEnd> {
    let retention = Millis(hours * HOUR.0);
    let item = testbed.protect_machine(&low_write_machine("web")).await?;
    let late = testbed.protect_machine(&low_write_machine("late")).await?;
    testbed.advance(Millis((hours + 5) * HOUR.0)).await;
    let oldest = testbed.oldest_point(&item).await?;
    let oldest_of_late = testbed.oldest_point(&late).await?;
    let age = testbed.world.clock().now().since(oldest.time);
    let real = testbed.snapshot_times(&testbed.primary, &"web".into()).contains(&oldest.time);
    let full = real && age <= retention && age.0 > retention.0 - 3 * HOUR.0;
    let found = format!("the oldest point that is offered is {age} old; the site took it then: {real}");
    rules.check(rule, full, found);
    testbed.advance(Millis((retention.0 - age.0).saturating_sub(60_000))).await;
    let what = "a failover to the point a minute before its retention ends";
    let failed_over = testbed.fail_over(&item, PointChoice::Custom(oldest.id.clone())).await;
    succeeds(rules, (rule, what), failed_over)?;
    let first = testbed.recovered("web")?.writes;
    testbed.completed(testbed.core.change_point(&item, &PointChoice::Latest).await).await?;
    let later = testbed.recovered("web")?.writes > first;
    let change = PointChoice::Custom(oldest.id);
    let what = "a change to the point a minute before its retention ends";
    let changed = testbed.completed(testbed.core.change_point(&item, &change).await).await;
    succeeds(rules, (RP_14, what), changed)?;
    testbed.completed(testbed.core.change_point(&item, &PointChoice::Latest).await).await?;
    testbed.advance(Millis(120_000)).await;
    let request = testbed.core.change_point(&item, &change);
    let code = refused(testbed, "a change to an expired point", request).await?;
    let right = code == Some(ErrorCode::PointExpired);
    rules.check(RP_14, right && later, format!("a minute after its retention, before commit: {code:?}"));
    refuses_expired(testbed, rules, rule, (&late, &oldest_of_late, retention)).await?;
    if rule == RP_13 {
        let back = failback_policy_of(testbed, &POLICY.into()).await?;
        let day = back.is_some_and(|view| view.policy.retention == Policy::DAY);
        let found =
            format!("the window is {hours} hours: {full}; the failback policy keeps points for a day: {day}");
        rules.check(PO_06, full && day, found);
    }
    Ok(())
}

/// A minute after its retention a failover to a point is refused.
async fn refuses_expired(
    testbed: &Testbed,
    rules: &mut RuleLog,
    rule: RuleId,
    (item, point, retention): (&ItemId, &RecoveryPoint, Millis),
) -> Result<(), EarlyEnd> {
    let age = testbed.world.clock().now().since(point.time);
    testbed.advance(Millis((retention.0 + 60_000).saturating_sub(age.0))).await;
    let found = failover_refusal(testbed, item, PointChoice::Custom(point.id.clone())).await?;
    let codes = [ErrorCode::PointExpired, ErrorCode::UnknownId, ErrorCode::NoRecoveryPoint];
    let refused = found.is_some_and(|code| codes.contains(&code));
    rules.check(rule, refused, format!("a failover a minute after the retention: {found:?}"));
    Ok(())
}

async fn keeps_content(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&low_write_machine("web")).await?;
    let mut first_seen = BTreeMap::new();
    for _ in 0..48 {
        testbed.advance(HOUR).await;
        let points = testbed.processed_points(&item).await?;
        for point in points {
            let content = |volume| testbed.recovery.snapshot(volume).map(|disk| hash(&disk));
            let now: Vec<_> = point.volumes.iter().map(|(_, volume)| content(volume)).collect();
            let then = first_seen.entry(point.id.clone()).or_insert_with(|| now.clone());
            let unchanged = *then == now && !now.contains(&None);
            rules.check(RP_20, unchanged, format!("the content of {} is unchanged: {unchanged}", point.id));
        }
    }
    Ok(())
}

fn hash(disk: &Snapshot) -> blake3::Hash {
    blake3::hash(&disk.bytes(0, usize::try_from(disk.size()).unwrap_or_default()))
}
