//! Calls to a site that fail: a merge half-way through several disks, the clean-up of a test
//! failover, the start of a machine (FX-14 to FX-17).

use contract::{
    Bytes, DiskView, FailoverRequest, ItemId, JobAction, JobState, JobView, MachineId, Millis, Phase,
    Platform, PlatformErrorKind, PointChoice, TestFailoverRequest,
};
use simulator::testbed::{BACK, BOOT, INTERVAL, fail_calls, failover_to};
use simulator::{Call, FailCall, SimFault, SimInstall};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::checks::variety::check_exact;
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a commit that merges one disk of three and fails is made good, and nothing is lost",
        &[FX_14],
        Setup::vmware,
        commit_fails_half_way(false)
    ),
    check!(
        "a commit that loses the answers of its merges is made good, and nothing is lost",
        &[FX_14],
        Setup::vmware,
        commit_fails_half_way(true)
    ),
    check!(
        "points expire again after one merge that failed",
        &[FX_15],
        || Setup::vmware().keeping(KEPT),
        expires_after(Call::MergeVolumes, false)
    ),
    check!(
        "points expire again after one merge whose answer was lost",
        &[FX_15],
        || Setup::vmware().keeping(KEPT),
        expires_after(Call::MergeVolumes, true)
    ),
    check!(
        "points expire again after one volume that could not be deleted",
        &[FX_15],
        || Setup::vmware().keeping(KEPT),
        expires_after(Call::DeleteVolume, false)
    ),
    check!(
        "a test failover whose machine cannot be powered off is not shown as cleaned up",
        &[FX_16],
        Setup::vmware,
        clean_up_fails(Call::PowerOff)
    ),
    check!(
        "a test failover whose machine cannot be deleted is not shown as cleaned up",
        &[FX_16],
        Setup::vmware,
        clean_up_fails(Call::DeleteMachine)
    ),
    check!(
        "a test failover whose disks cannot be deleted is not shown as cleaned up",
        &[FX_16],
        Setup::vmware,
        clean_up_fails(Call::DeleteVolume)
    ),
    check!("a failover whose machine cannot be started fails", &[FX_17], Setup::vmware, failover_not_started),
    check!(
        "a test failover whose machine cannot be started fails",
        &[FX_17],
        Setup::vmware,
        test_failover_not_started
    ),
    check!(
        "a change of the point whose machine cannot be started fails",
        &[FX_17],
        Setup::vmware,
        change_not_started
    ),
    check!("a failback whose machine cannot be started fails", &[FX_17], Setup::vmware, failback_not_started),
];

/// How many points the policy of [`expires_after`] keeps.
const KEPT: u32 = 3;

/// Whether a job did what it had to do.
pub(crate) fn succeeded(job: &JobView) -> bool {
    matches!(job.state, JobState::Completed | JobState::CompletedWithWarning)
}

/// A machine with three disks.
fn three_disks() -> SimInstall {
    let install = SimInstall::new("web");
    let third = ("logs".into(), Bytes(768 * 1024));
    SimInstall { disks: install.disks.iter().cloned().chain([third]).collect(), ..install }
}

async fn commit_fails_half_way(
    testbed: &Testbed,
    rules: &mut RuleLog,
    takes_effect: bool,
) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&three_disks()).await?;
    testbed.wait_for_points(&item, 4).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
    testbed.advance(BOOT).await;
    let second = testbed.recovery.calls(Call::MergeVolumes) + 2;
    let failing = FailCall::at(Call::MergeVolumes, second, PlatformErrorKind::Failed).from_then_on();
    testbed.recovery.inject(&SimFault::Call(FailCall { takes_effect, ..failing }));
    let job = testbed.ended(testbed.core.commit(&item).await).await?;
    testbed.recovery.heal();
    testbed.advance(INTERVAL).await;
    if !succeeded(&job) && testbed.item(&item).await?.protection.phase != Phase::Committed {
        let again = testbed.commit(&item).await;
        succeeds(rules, (FX_14, "a commit once volumes can be merged"), again)?;
    }
    let runs = testbed.boots("web")?.target.ended().is_none();
    rules.check(FX_14, runs, format!("the commit ended {:?} at first; the machine runs: {runs}", job.state));
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    let reprotected = testbed.reprotect(&testbed.reprotection(&item, BACK)).await;
    succeeds(rules, (FX_14, "a reprotection after it"), reprotected)?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    Ok(check_returned(rules, FX_14, testbed, ("web", &testbed.primary))?)
}

async fn expires_after(
    testbed: &Testbed,
    rules: &mut RuleLog,
    call: Call,
    takes_effect: bool,
) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&three_disks()).await?;
    testbed.wait_for_points(&item, 3).await?;
    let second = testbed.recovery.calls(call) + 2;
    let failing = FailCall::at(call, second, PlatformErrorKind::Failed);
    testbed.recovery.inject(&SimFault::Call(FailCall { takes_effect, ..failing }));
    testbed.advance(Millis(40 * INTERVAL.0)).await;
    testbed.recovery.heal();
    testbed.wait_until_idle().await?;
    let points = testbed.processed_points(&item).await?;
    let found = format!("forty intervals later there are {} points; {KEPT} are kept", points.len());
    // A point may have come since retention was last applied.
    rules.check(FX_15, points.len() <= 2 * KEPT as usize + 1, found);
    let oldest = testbed.oldest_point(&item).await?;
    let now = testbed.world.clock().now();
    let newest = testbed.newest_point(&item).await?;
    let age = now.since(newest.time);
    rules.check(FX_15, age.0 <= 2 * INTERVAL.0, format!("the newest point is {age} old"));
    let failed_over = testbed.fail_over(&item, PointChoice::Custom(oldest.id)).await;
    failed_over.map_err(|end| against(rules, FX_15, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_15, &testbed.boots("web")?)
}

/// What is left of a test failover's machine.
async fn left_of(testbed: &Testbed, machine: &MachineId, disks: &[DiskView]) -> Result<usize, EarlyEnd> {
    let machines = testbed.recovery.machines().await?;
    let volumes = testbed.recovery.volumes();
    let machines = machines.iter().filter(|view| view.id == *machine).count();
    Ok(machines + disks.iter().filter(|disk| volumes.contains(&disk.volume)).count())
}

async fn clean_up_fails(testbed: &Testbed, rules: &mut RuleLog, call: Call) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let request = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
    testbed.completed(testbed.core.test_failover(&request).await).await?;
    let machine = testbed.item(&item).await?.test_failover;
    let machine = machine.ok_or_else(|| missing("the name of the test failover's machine"))?;
    let disks = testbed.machine_at(&testbed.recovery, &machine.0).await?.disks;
    testbed.advance(BOOT).await;
    fail_calls(&testbed.recovery, call, PlatformErrorKind::Failed);
    let job = testbed.ended(testbed.core.clean_up_test_failover(&item).await).await?;
    let left = left_of(testbed, &machine, &disks).await?;
    let shown = testbed.item(&item).await?.test_failover == Some(machine.clone());
    testbed.recovery.heal();
    let told = shown && job.state != JobState::Completed;
    let found = format!("the clean-up ended {:?}, {left} things remain, shown: {shown}", job.state);
    rules.check(FX_16, left == 0 || told, found);
    if left > 0 {
        let again = testbed.completed(testbed.core.clean_up_test_failover(&item).await).await;
        succeeds(rules, (FX_16, "a clean-up once things can be deleted"), again)?;
    }
    let left = left_of(testbed, &machine, &disks).await?;
    let shown = testbed.item(&item).await?.test_failover;
    rules.check(FX_16, left == 0 && shown.is_none(), format!("then {left} things remain, shown: {shown:?}"));
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    testbed.fail_over(&item, PointChoice::Latest).await.map_err(|end| against(rules, FX_16, end))?;
    Ok(())
}

/// Records that a job did not succeed although no machine could be started.
fn check_failed(rules: &mut RuleLog, what: &str, job: &JobView) {
    let found = format!("{what} whose machine could not be started ended {:?}", job.state);
    rules.check(FX_17, !succeeded(job), found);
}

/// Makes a failover good: by a retry of its job if the core offers one, otherwise by a new request.
pub(crate) async fn again(
    testbed: &Testbed,
    job: &JobView,
    request: &FailoverRequest,
) -> Result<JobView, EarlyEnd> {
    if testbed.core.job(&job.id).await?.actions.contains(&JobAction::Retry) {
        testbed.core.retry_job(&job.id).await?;
        return Ok(testbed.completed(&job.id).await?);
    }
    Ok(testbed.completed(testbed.core.failover(request).await).await?)
}

async fn protected(testbed: &Testbed) -> Result<ItemId, EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    Ok(item)
}

async fn failover_not_started(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = protected(testbed).await?;
    let request = failover_to(&item, PointChoice::Latest);
    fail_calls(&testbed.recovery, Call::Start, PlatformErrorKind::Failed);
    let job = testbed.ended(testbed.core.failover(&request).await).await?;
    check_failed(rules, "a failover", &job);
    testbed.recovery.heal();
    testbed.advance(Millis(2 * INTERVAL.0)).await;
    if succeeded(&job) {
        return Ok(());
    }
    let again = again(testbed, &job, &request).await;
    succeeds(rules, (FX_17, "the failover once machines can be started"), again)?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_17, &testbed.boots("web")?)
}

async fn test_failover_not_started(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = protected(testbed).await?;
    let request = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
    fail_calls(&testbed.recovery, Call::Start, PlatformErrorKind::Failed);
    let job = testbed.ended(testbed.core.test_failover(&request).await).await?;
    check_failed(rules, "a test failover", &job);
    testbed.recovery.heal();
    // A core may leave it to the user to clean up.
    if testbed.item(&item).await?.test_failover.is_some() {
        testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    }
    let again = testbed.completed(testbed.core.test_failover(&request).await).await;
    succeeds(rules, (FX_17, "a test failover once machines can be started"), again)?;
    let machine = testbed.item(&item).await?.test_failover;
    let machine = machine.ok_or_else(|| missing("the name of the test failover's machine"))?;
    let up = testbed.recovery.last_boot(&machine).is_some_and(|boot| boot.up.is_ok());
    rules.check(FX_17, up, format!("then {machine} comes up: {up}"));
    testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    Ok(())
}

async fn change_not_started(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = protected(testbed).await?;
    let oldest = PointChoice::Custom(testbed.oldest_point(&item).await?.id);
    testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
    testbed.advance(BOOT).await;
    fail_calls(&testbed.recovery, Call::Start, PlatformErrorKind::Failed);
    let job = testbed.ended(testbed.core.change_point(&item, &oldest).await).await?;
    check_failed(rules, "a change of the point", &job);
    testbed.recovery.heal();
    let again = testbed.completed(testbed.core.change_point(&item, &oldest).await).await;
    succeeds(rules, (FX_17, "a change of the point once machines can be started"), again)?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_17, &testbed.boots("web")?)
}

async fn failback_not_started(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = protected(testbed).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
    testbed.wait_for_points(&item, 2).await?;
    fail_calls(&testbed.primary, Call::Start, PlatformErrorKind::Failed);
    let job = testbed.core.failover(&FailoverRequest::unplanned(&item, BACK)).await;
    let job = testbed.ended(job).await?;
    check_failed(rules, "a failback", &job);
    testbed.primary.heal();
    testbed.advance(BOOT).await;
    let serves = |site: &simulator::SimSite, machine: &str| {
        site.last_boot(&machine.into()).is_some_and(|boot| boot.ended().is_none() && boot.up.is_ok())
    };
    let copy = simulator::testbed::cloud_machine("web");
    let (home, cloud) = (serves(&testbed.primary, "web"), serves(&testbed.recovery, &copy.0));
    let found = format!("after it the original runs: {home}, its copy: {cloud}");
    rules.check(FX_17, home != cloud, found);
    Ok(())
}
