//! Test failovers: a copy beside the running machine that leaves no trace (TF).

use contract::{
    ErrorCode, JobFilter, JobKind, JobState, MachineId, Millis, Network, Operation, Platform,
    PlatformErrorKind, PointChoice, Step, TestFailoverRequest, TestFailoverStatus,
};
use simulator::testbed::{BOOT, Boots, INTERVAL, fail_calls, item_of, kept};
use simulator::{Call, Cut, SimBoot, SimProfile, Snapshot, cut_of};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, missing, step, succeeds};
use crate::sim::disks::{booted_from, check_freshness, same_content};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::{forbids, refused};
use crate::sim::testbed::{Setup, Testbed};

const RULES: &[RuleId] =
    &[FO_10, FO_19, MO_02, MO_04, TF_01, TF_02, TF_03, TF_04, TF_06, TF_07, TF_08, TF_09];

pub(crate) const CHECKS: &[Check] = &[
    check!("a test failover of a VMware machine leaves no trace", RULES, Setup::vmware, leaves_no_trace),
    check!(
        "a test failover of a physical server leaves no trace",
        RULES,
        || Setup::of(SimProfile::PHYSICAL),
        leaves_no_trace
    ),
    check!(
        "a test failover that fails is cleaned up, does not count, and can be repeated",
        &[MO_02, TF_06, TF_08],
        Setup::vmware,
        fails
    ),
    check!(
        "a machine that has failed over cannot have a test failover",
        &[FO_19, LC_02, MO_02],
        Setup::vmware,
        after_failover
    ),
];

async fn leaves_no_trace(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 4).await?;
    let before = testbed.item(&item).await?;
    let status = before.test_failover_status;
    let recommended = status == TestFailoverStatus::Recommended;
    rules.check(MO_02, recommended, format!("before any test failover: {status:?}"));
    let offered = before.allowed.contains(&Operation::UnplannedFailover);
    let found = format!("without a test failover: {status:?}, a failover is offered: {offered}");
    rules.check(FO_19, recommended && offered, found);
    // Neither the newest nor the oldest point, so that the core cannot choose the right one by
    // chance.
    let point = testbed.processed_points(&item).await?.get(1).cloned();
    let point = point.ok_or_else(|| missing("a second point to choose from"))?;
    let content = testbed.point_content(&testbed.recovery, &point)?;
    let request = TestFailoverRequest::isolated(&item, PointChoice::Custom(point.id.clone()));
    let in_production = TestFailoverRequest { network: Network::Production, ..request.clone() };
    let what = (TF_04, "a test failover in the production network");
    let codes = [ErrorCode::BadRequest];
    forbids(testbed, rules, what, &codes, testbed.core.test_failover(&in_production)).await?;

    let job = testbed.completed(testbed.core.test_failover(&request).await).await?;
    let (machine, boot) = started_machine(testbed).await?;
    rules.check(TF_03, booted_from(&boot, &content), format!("{machine} was started from {}", point.id));
    let source = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let boots = Boots { source, target: std::sync::Arc::clone(&boot) };
    check_freshness(rules, &boots, &point)?;
    let network = testbed.recovery.spec(&machine).map(|spec| spec.network);
    let isolated = network == Some(Network::Isolated);
    rules.check(TF_04, isolated, format!("{machine} is in the network {network:?}"));
    let hydrated = step(&job, Step::HYDRATE).is_some_and(|step| step.took.is_some());
    rules.check(TF_09, hydrated, format!("its job shows hydration and how long it took: {hydrated}"));
    let test_failovers = JobFilter { kind: Some(JobKind::TestFailover), ..JobFilter::default() };
    let listed = testbed.core.jobs(&test_failovers).await?.iter().any(|other| other.id == job.id);
    rules.check(MO_04, listed, format!("the test failover is listed among the jobs: {listed}"));

    replication_continues(testbed, rules, &boot).await?;
    let now = testbed.point_content(&testbed.recovery, &point)?;
    let unchanged = same_content(&now, &content);
    rules.check(TF_07, unchanged, format!("{} is unchanged by the test failover: {unchanged}", point.id));

    clean_up(testbed, rules, &machine).await?;
    let after = testbed.item(&item).await?;
    let kept = before.points.iter().all(|old| after.points.iter().any(|point| point.id == old.id));
    rules.check(TF_08, kept, format!("{} points before, {} after", before.points.len(), after.points.len()));
    rules.check(TF_08, after.protection == before.protection, format!("{:?}", after.protection));
    let status = after.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::Performed, format!("after clean-up: {status:?}"));

    testbed.completed(testbed.core.test_failover(&request).await).await?;
    let (_, again) = started_machine(testbed).await?;
    let same = booted_from(&again, &content);
    rules.check(
        TF_07,
        same,
        format!("a second test failover to the point starts from the same disks: {same}"),
    );
    testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    Ok(())
}

/// The machine that a test failover has started, and its last boot.
async fn started_machine(testbed: &Testbed) -> Result<(MachineId, std::sync::Arc<SimBoot>), EarlyEnd> {
    let machine = testbed.item(&item_of("web")).await?.test_failover;
    let machine = machine.ok_or_else(|| missing("the name of the test failover's machine"))?;
    let boot = testbed.recovery.last_boot(&machine);
    let boot = boot.ok_or_else(|| missing("a boot of the test failover's machine"))?;
    Ok((machine, boot))
}

/// Lets a test failover run for some intervals, in which its guest writes as much as the source's
/// does.
async fn replication_continues(
    testbed: &Testbed,
    rules: &mut RuleLog,
    test_failover: &SimBoot,
) -> Result<(), EarlyEnd> {
    let item = item_of("web");
    let source = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let old: Vec<_> = testbed.item(&item).await?.points.into_iter().map(|point| point.id).collect();
    let snapshots = testbed.primary.snapshots_taken(&"web".into());
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    let points = testbed.processed_points(&item).await?;
    let more = points.iter().filter(|point| !old.contains(&point.id)).count();
    let snapshots = testbed.primary.snapshots_taken(&"web".into()) - snapshots;
    let found = format!("{more} points and {snapshots} snapshots in five intervals");
    rules.check(TF_01, more >= 4 && snapshots >= 4, found);

    // Asking a site for a machine's boot brings the record of its writes up to date.
    testbed.primary.last_boot(&source.machine);
    testbed.recovery.last_boot(&test_failover.machine);
    let now = testbed.world.clock().now();
    let recent = source.acks().last().is_some_and(|ack| now.since(ack.at) < INTERVAL);
    let ran = recent && source.ended().is_none();
    rules.check(
        TF_02,
        ran,
        format!("the source runs and acknowledges records during the test failover: {ran}"),
    );
    let log = source.log();
    let compare = |disks: &[Snapshot]| cut_of(&source.bases(), &log, disks, &[]);
    let disks = testbed.machine_at(&testbed.primary, "web").await?.disks;
    let disks: Option<Vec<_>> = disks.iter().map(|disk| testbed.primary.snapshot(&disk.volume)).collect();
    let compared = compare(&disks.unwrap_or_default());
    let untouched = matches!(compared, Cut::Exact(all) if *all.end() == log.len());
    let found = format!("the source's disks contain exactly what its own guest wrote: {untouched}");
    rules.check(TF_02, untouched, found);
    let writes = test_failover.log().len();
    for point in &points {
        let content = testbed.point_content(&testbed.recovery, point)?;
        let apart = writes > 0 && matches!(compare(&content), Cut::Exact(_) | Cut::EpochConsistent(_));
        let found = format!("{} has none of the test failover's {writes} writes: {apart}", point.id);
        rules.check(TF_07, apart, found);
    }
    Ok(())
}

async fn clean_up(testbed: &Testbed, rules: &mut RuleLog, machine: &MachineId) -> Result<(), EarlyEnd> {
    let machine = kept("the test failover's machine", testbed.recovery.machine(machine).await)?;
    testbed.completed(testbed.core.clean_up_test_failover(&item_of("web")).await).await?;
    let machines = testbed.recovery.machines().await?.len();
    let volumes = testbed.recovery.volumes();
    let strays = machine.disks.iter().filter(|disk| volumes.contains(&disk.volume)).count();
    let removed = !machine.disks.is_empty() && machines == 0 && strays == 0;
    rules.check(
        TF_06,
        removed,
        format!("{machines} machines and {strays} disks of the test failover remain"),
    );
    Ok(())
}

async fn fails(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let before = testbed.item(&item).await?;
    // A core may repeat a call that failed, so it fails until the job has ended.
    fail_calls(&testbed.recovery, Call::CreateMachine, PlatformErrorKind::Failed);
    let volumes = testbed.recovery.volumes();
    let request = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
    let job = testbed.ended(testbed.core.test_failover(&request).await).await?;
    testbed.recovery.heal();
    // A core may leave it to the user to clean up.
    if testbed.item(&item).await?.test_failover.is_some() {
        testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    }
    let after = testbed.item(&item).await?;
    let strays = testbed.recovery.volumes().iter().filter(|volume| !volumes.contains(volume)).count();
    let clean = job.state == JobState::Failed && after.test_failover.is_none() && strays == 0;
    let found = format!("the failed test failover left {strays} volumes, and {:?}", after.test_failover);
    rules.check(TF_06, clean, found);
    let same = (before.protection, &before.points) == (after.protection, &after.points);
    rules.check(TF_08, same, format!("after it: {:?}, {} points", after.protection, after.points.len()));
    let status = after.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::Recommended, format!("after it: {status:?}"));
    testbed.completed(testbed.core.test_failover(&request).await).await?;
    let status = testbed.item(&item).await?.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::Recommended, format!("before clean-up: {status:?}"));
    let second = refused(testbed, "a second test failover", testbed.core.test_failover(&request)).await?;
    rules.check(TF_06, second.is_some(), format!("a second test failover beside the first: {second:?}"));
    testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    Ok(())
}

async fn after_failover(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let failed_over = testbed.fail_over(&item, PointChoice::LatestProcessed).await;
    succeeds(rules, (FO_19, "a failover without any test failover"), failed_over)?;
    testbed.advance(BOOT).await;
    let what = (LC_02, "a test failover of a machine that has failed over");
    let request = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
    let codes = [ErrorCode::NotAllowedInState];
    forbids(testbed, rules, what, &codes, testbed.core.test_failover(&request)).await?;
    let status = testbed.item(&item).await?.test_failover_status;
    rules.check(MO_02, status == TestFailoverStatus::NotApplicable, format!("after failover: {status:?}"));
    Ok(())
}
