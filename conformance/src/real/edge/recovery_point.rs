//! Recovery points: waiting for them, and reading one below the core.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use contract::{
    Access, DiskView, ErrorCode, ItemId, ItemView, MachineId, Platform, PowerState, RecoveryPoint, Timestamp,
};
use harness::tools::{self, Format};
use standins::StandInSite;

use crate::blame::{KeptByCore, ScenarioError};
use crate::judge::SecondReading;
use crate::real::asked_core::AskedCore;
use crate::real::context::ScenarioContext;
use crate::real::edge::freshness;
use crate::real::machine::Running;
use crate::rules::RuleId;
use crate::rules::ids::FO_05;

/// Recovery points that replication must have made before an edge is judged.
pub(crate) const POINTS: u64 = 3;
/// Recovery points that replication must make of moments at which an edge has begun already. With
/// two of them the newest but one is new as well, from which a test failover is made.
const FRESH_POINTS: usize = 2;
/// Time until a core is asked again for its recovery points after its replication has failed.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long recovery points may take.
pub(crate) const POINTS_WITHIN: Duration = Duration::from_secs(120);

/// An item that has [`POINTS`] recovery points.
pub(crate) struct EnoughPoints {
    /// The item.
    pub(crate) item: ItemView,
    /// When the first of these points was seen.
    pub(crate) first_seen: Instant,
}

/// Waits until replication has made [`POINTS`] recovery points. `rule` is the one that demands
/// them.
///
/// # Errors
/// They did not come in time although the guest ran: the core's failure, unless a stand-in itself
/// failed.
pub(crate) async fn wait_for_points(
    context: &ScenarioContext,
    rule: RuleId,
    label: &str,
    source: &Running,
) -> Result<EnoughPoints, ScenarioError> {
    let step = context.evidence.step(label, "recovery points from changes");
    let guest = &source.boot.guest;
    let mut item = context.core.item(&context.item).await?;
    let mut first_seen = None;
    for count in 1..=POINTS {
        context.evidence.progress(label, "recovery points from changes", count, POINTS, "points");
        let awaited = format!("recovery point {count} of {POINTS}");
        let point = until_points(&context.core, &context.item, count);
        item = context.expect_of_core(rule, label, &awaited, guest, POINTS_WITHIN, point).await?;
        context.note_points(&item);
        first_seen.get_or_insert_with(Instant::now);
    }
    step.done();
    Ok(EnoughPoints { item, first_seen: first_seen.unwrap_or_else(Instant::now) })
}

/// Waits for [`FRESH_POINTS`] recovery points, processed or only received, of moments after this
/// call. `rule` is the one that demands them.
///
/// # Errors
/// They did not come in time although the guest ran: the core's failure, unless a stand-in itself
/// failed.
pub(crate) async fn wait_for_fresh_points(
    context: &ScenarioContext,
    rule: RuleId,
    label: &str,
    source: &Running,
) -> Result<(), ScenarioError> {
    let step = context.evidence.step(label, "recovery points of new moments");
    let moment = freshness::now();
    let fresh = |item: &ItemView| item.points.iter().filter(|point| point.time >= moment).count();
    let comes = item_whose_points(context, |item| fresh(item) >= FRESH_POINTS);
    let awaited = format!("{FRESH_POINTS} recovery points of new moments, so replication has stopped,");
    let guest = &source.boot.guest;
    context.expect_of_core(rule, label, &awaited, guest, POINTS_WITHIN, comes).await?;
    step.done();
    Ok(())
}

/// The item as soon as `count` recovery points were processed. Replication that failed for a moment
/// has to come back by itself (MO-01), so the core is asked again; the caller bounds the wait.
///
/// # Errors
/// The core says something else than that a platform made its replication fail.
pub(crate) async fn until_points(
    core: &AskedCore,
    item: &ItemId,
    count: u64,
) -> Result<ItemView, ScenarioError> {
    loop {
        match core.watch_points(item, count).await {
            Err(failure) if failure.error.code == ErrorCode::Platform => {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            answer => return Ok(answer?),
        }
    }
}

/// The item as soon as its recovery points are as wanted.
pub(crate) async fn item_whose_points(
    context: &ScenarioContext,
    wanted: impl Fn(&ItemView) -> bool,
) -> Result<ItemView, ScenarioError> {
    let mut item = context.core.item(&context.item).await?;
    // A core counts all points that it ever processed, of which the item lists the newest.
    let mut count = item.points.iter().filter(|point| point.processed).count() as u64;
    while !wanted(&item) {
        count += 1;
        item = until_points(&context.core, &context.item, count).await?;
        context.note_points(&item);
        // A core may answer at once each time, which must not keep a time limit from ending this
        // wait.
        tokio::task::yield_now().await;
    }
    Ok(item)
}

/// The first processed recovery point of a later moment than `moment`, and the item that lists it.
/// Replication may fail before it comes back, with whatever error; the caller bounds the wait.
pub(crate) async fn point_later_than(
    context: &ScenarioContext,
    moment: Timestamp,
) -> (RecoveryPoint, ItemView) {
    // An answer about points that exist already comes at once.
    let mut count = 1;
    loop {
        match context.core.watch_points(&context.item, count).await {
            Ok(item) => {
                context.note_points(&item);
                let later = |point: &&RecoveryPoint| point.processed && point.time > moment;
                if let Some(point) = item.points.iter().rfind(later).cloned() {
                    return (point, item);
                }
                count += 1;
                // Answers that come at once must not keep a time limit from ending this wait.
                tokio::task::yield_now().await;
            }
            Err(_) => tokio::time::sleep(ASK_AGAIN_AFTER).await,
        }
    }
}

/// One disk of a recovery point that was read into the evidence.
pub(crate) struct PointFiles {
    pub(crate) disk: String,
    /// The disk as QEMU read it, raw.
    pub(crate) raw: Utf8PathBuf,
    /// Its qcow2 chain; `Err` says why the second reader cannot read it.
    pub(crate) image: Result<Utf8PathBuf, String>,
}

impl PointFiles {
    /// What the second reader compares.
    pub(crate) fn second_reading(&self) -> Result<SecondReading, String> {
        let image = self.image.clone()?;
        Ok(SecondReading { image, read_by_qemu: self.raw.clone() })
    }
}

/// Which machine runs on the volumes of a recovery point themselves, so that it changes the point;
/// `None` if there is none.
pub(crate) async fn machine_on_point(
    site: &StandInSite,
    point: &RecoveryPoint,
) -> Result<Option<MachineId>, ScenarioError> {
    let is_of_point = |disk: &DiskView| point.volumes.iter().any(|(_, volume)| *volume == disk.volume);
    let machines = site.machines().await?;
    let mut running = machines.into_iter().filter(|machine| machine.power == PowerState::On);
    Ok(running.find(|machine| machine.disks.iter().any(is_of_point)).map(|machine| machine.id))
}

/// Reads every disk of a recovery point with QEMU into `dir`, and runs `work` while the point's
/// volumes are still exported, so that the core cannot merge them away meanwhile.
///
/// # Errors
/// The core did not keep a volume of the point or runs a machine on it, a volume cannot be read, or
/// `work` failed.
pub(crate) async fn with_point<T>(
    site: &StandInSite,
    point: &RecoveryPoint,
    dir: &Utf8Path,
    work: impl AsyncFnOnce(Vec<PointFiles>) -> Result<T, ScenarioError>,
) -> Result<T, ScenarioError> {
    if let Some(machine) = machine_on_point(site, point).await? {
        return Err(ScenarioError::core(format!("{machine} runs on recovery point {} itself", point.id)));
    }
    let mut exports = Vec::new();
    let result = async {
        for (disk, volume) in &point.volumes {
            let export = site.export_volume(volume, Access::Read).await;
            exports.push(export.kept_by_core(&format!("disk {disk} of recovery point {}", point.id))?);
        }
        let mut files = Vec::new();
        for ((disk, volume), export) in point.volumes.iter().zip(&exports) {
            let raw = dir.join(format!("{disk}.point.raw"));
            tools::convert(Utf8Path::new(&export.uri), Format::Raw, &raw, Format::Raw).await?;
            let chain = site.files_of(volume).await;
            files.push(PointFiles { disk: disk.0.clone(), raw, image: qcow2_chain(&chain) });
        }
        work(files).await
    }
    .await;
    // Whatever happened: an export that stays open would keep the core from merging.
    let mut closed = Ok(());
    for export in exports {
        closed = closed.and(site.close_export(&export.id).await);
    }
    let value = result?;
    closed?;
    Ok(value)
}

/// The first image of a chain that the second reader can read; `Err` says why there is none.
fn qcow2_chain(chain: &[(Utf8PathBuf, Format)]) -> Result<Utf8PathBuf, String> {
    let readable = chain.iter().all(|(_, format)| matches!(format, Format::Qcow2 | Format::Raw));
    match chain.first() {
        Some((path, Format::Qcow2)) if readable => Ok(path.clone()),
        _ => Err(format!("it is based on {}", chain.last().map_or("nothing", |(_, format)| format.name()))),
    }
}

/// The recovery point that the item was failed over to, if the item still lists it.
pub(crate) fn failed_over_to(item: &ItemView) -> Option<&RecoveryPoint> {
    item.points.iter().find(|point| Some(&point.id) == item.failed_over_to.as_ref())
}

/// FO-05: until commit the item lists the recovery point that it was failed over to, and all others
/// that the policy keeps. Returns the point. `before` is the item before the failover.
///
/// # Errors
/// The point is not listed: the core's failure.
pub(crate) async fn check_points_kept(
    context: &ScenarioContext,
    label: &str,
    before: &ItemView,
) -> Result<RecoveryPoint, ScenarioError> {
    let item = context.core.item(&context.item).await?;
    let chosen = failed_over_to(&item);
    let lost = points_lost(before, &item);
    let found = format!("{lost} points of the retention window are gone, {} are listed", item.points.len());
    context.check(FO_05, lost == 0 && chosen.is_some(), found);
    chosen.cloned().ok_or_else(|| not_listed(label))
}

/// The error for a recovery point that the item was failed over to and does not list.
pub(crate) fn not_listed(label: &str) -> ScenarioError {
    ScenarioError::CoreViolation(format!(
        "{label}: the item does not list the recovery point that it was failed over to"
    ))
}

/// How many recovery points that the policy keeps are missing from `after` although `before` had
/// them. Points that newer ones pushed out of the retention window do not count.
pub(crate) fn points_lost(before: &ItemView, after: &ItemView) -> usize {
    let mut all: Vec<_> =
        before.points.iter().filter(|point| point.processed).map(|point| &point.id).collect();
    let new: Vec<_> =
        after.points.iter().filter(|p| p.processed && !all.contains(&&p.id)).map(|p| &p.id).collect();
    all.extend(new);
    let kept = before.policy.policy.most_points.map_or(usize::MAX, |most| most as usize);
    let window = all.iter().rev().take(kept);
    window.filter(|id| !after.points.iter().any(|point| point.id == ***id)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::asked_core::tests::failing;

    #[tokio::test(start_paused = true)]
    async fn replication_that_a_platform_made_fail_may_come_back_within_the_callers_bound() {
        let item = ItemId::from("shop");
        let comes_back = failing(&[ErrorCode::Platform, ErrorCode::Platform, ErrorCode::NotCurable], None);
        let answer = until_points(&comes_back, &item, 1).await;
        assert_eq!(answer.err(), Some(ScenarioError::core("the core: QEMU did not answer")));
        let fails_on = failing(&[ErrorCode::Platform; 10], None);
        let waited = tokio::time::timeout(ASK_AGAIN_AFTER * 8, until_points(&fails_on, &item, 1)).await;
        assert!(waited.is_err(), "the caller's bound ends the wait");
    }
}
