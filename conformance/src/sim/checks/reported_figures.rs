//! What a core reports of its recovery points and jobs, compared with what the sites counted
//! (MO-06, JO-01).

use std::collections::BTreeSet;

use contract::{JobView, Millis, RecoveryPoint, Timestamp};
use simulator::testbed::{INTERVAL, failover_with_shutdown};
use simulator::{Link, SimBoot};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

/// How much a time that a core shows may differ from the measured one.
const TOLERANCE: Millis = Millis(5_000);
/// By which factor bytes that a core shows may differ from those that were counted.
const FACTOR: u64 = 2;
/// Granularity in which guests write, in bytes.
const SECTOR: u64 = 512;

pub(crate) const CHECKS: &[Check] = &[check!(
    "the times and bytes that a core shows of points and jobs are those that the sites counted",
    &[JO_01, MO_06],
    Setup::vmware,
    as_counted
)];

async fn as_counted(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    let before = testbed.newest_point(&item).await?;
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    testbed.wait_until_idle().await?;
    let points = testbed.item(&item).await?.points;
    shows_true_times(testbed, rules, &points)?;
    shows_true_bytes(testbed, rules, &before, &points)?;

    testbed.primary.set_link(Link { latency: INTERVAL, ..Link::default() });
    let asked = testbed.world.clock().now();
    let job = testbed.completed(testbed.core.failover(&failover_with_shutdown(&item)).await).await?;
    let ended = testbed.world.clock().now();
    let found = format!(
        "asked for at {} and over at {} ms; the job shows {} to {:?}, steps {:?}",
        asked.0,
        ended.0,
        job.started.0,
        job.ended.map(|at| at.0),
        job.steps.iter().map(|step| (step.started.0, step.took.map(|took| took.0))).collect::<Vec<_>>()
    );
    rules.check(JO_01, is_within(&job, asked, ended), found);
    Ok(())
}

/// Every point that is shown is of a moment at which its site took a snapshot, and the newest one
/// is not older than an interval.
fn shows_true_times(
    testbed: &Testbed,
    rules: &mut RuleLog,
    points: &[RecoveryPoint],
) -> Result<(), EarlyEnd> {
    let taken = testbed.snapshot_times(&testbed.primary, &"web".into());
    let is_real = |point: &&RecoveryPoint| taken.iter().any(|at| at.0.abs_diff(point.time.0) <= TOLERANCE.0);
    let invented: Vec<_> = points.iter().filter(|point| !is_real(point)).map(|point| &point.id).collect();
    let newest = points.last().ok_or_else(|| missing("a point"))?.time;
    let age = testbed.world.clock().now().since(newest);
    let fresh = age.0 <= INTERVAL.0 + TOLERANCE.0;
    let found = format!(
        "of {} points these are of no moment at which the site took a snapshot: {invented:?}; the newest \
         is {age} old",
        points.len()
    );
    rules.check(MO_06, invented.is_empty() && fresh, found);
    Ok(())
}

/// The bytes that are shown for the points after `before` are between what the guest changed and
/// what was read from its snapshots, but for the tolerated factor.
fn shows_true_bytes(
    testbed: &Testbed,
    rules: &mut RuleLog,
    before: &RecoveryPoint,
    points: &[RecoveryPoint],
) -> Result<(), EarlyEnd> {
    let newer: Vec<_> = points.iter().filter(|point| point.time > before.time).collect();
    let newest = newer.last().ok_or_else(|| missing("a newer point"))?.time;
    let shown: u64 = newer.iter().map(|point| point.transferred.0).sum();
    let read = testbed.bytes_read(&testbed.primary, &"web".into(), before.time);
    let boot = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let changed = changed_bytes(&boot, before.time, newest);
    let found = format!(
        "{shown} bytes are shown for {} points; the guest changed {changed}, {read} were read",
        newer.len()
    );
    rules.check(MO_06, shown * FACTOR >= changed && shown <= read * FACTOR && changed > 0, found);
    Ok(())
}

/// How many bytes a guest changed between two moments, without zeroes.
fn changed_bytes(boot: &SimBoot, from: Timestamp, until: Timestamp) -> u64 {
    let log = boot.log();
    let within = log.iter().filter(|write| write.at > from && write.at < until);
    let sectors = within.flat_map(|write| {
        let data = write.data();
        let full = data.chunks(SECTOR as usize).enumerate().filter(|(_, part)| part.iter().any(|b| *b != 0));
        let numbers: Vec<_> = full.map(|(n, _)| (write.disk, write.offset / SECTOR + n as u64)).collect();
        numbers
    });
    sectors.collect::<BTreeSet<_>>().len() as u64 * SECTOR
}

/// Whether a job and its steps are shown within the time that passed outside the core.
fn is_within(job: &JobView, asked: Timestamp, ended: Timestamp) -> bool {
    let is_near = |one: Timestamp, other: Timestamp| one.0.abs_diff(other.0) <= TOLERANCE.0;
    let contains = |at: u64| (asked.0.saturating_sub(TOLERANCE.0)..=ended.0 + TOLERANCE.0).contains(&at);
    let steps = job.steps.iter().all(|step| {
        contains(step.started.0) && step.took.is_some_and(|took| contains(step.started.0 + took.0))
    });
    is_near(job.started, asked) && job.ended.is_some_and(|at| is_near(at, ended)) && steps
}
