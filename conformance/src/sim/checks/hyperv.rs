//! Failback to Hyper-V: straight from the committed state, in two phases or as one full download
//! (HF).

use contract::{
    DataSync, DiskKind, EnableProtection, ErrorCode, FailoverRequest, ItemId, JobAction, JobId, JobState,
    Millis, Operation, Phase, Placement, Platform, PointChoice, PowerState, Side, TargetSettings, Timestamp,
};
use simulator::testbed::preconditions::{CERTIFICATE, HYPERV_FAILBACK, alternate_host};
use simulator::testbed::{
    BACK, BOOT, Boots, HOUR, INTERVAL, JobFailed, OUT, TestbedError, failover_with_shutdown, volume_content,
};
use simulator::{Link, SimFault, SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::amounts::{filling, most, written_since};
use crate::sim::check::{Check, check, check_that, succeeds};
use crate::sim::disks::{check_returned, nonzero_bytes, power_of_copy};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

/// Granularity of simulated storage, in bytes.
const CHUNK: u64 = 4096;

fn setup() -> Setup {
    Setup::of(SimProfile::HYPERV)
}

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a failback that synchronises its data first keeps the cloud machine serving until it is completed, and loses nothing",
        &[FB_06, FB_07, FB_12, HF_01, HF_05, HF_06, HF_08, HF_15, HF_16, HF_17, HF_27, JO_02, LC_10, LC_12,],
        setup,
        two_phases
    ),
    check!(
        "a failback transfers the differences or everything, as the request says",
        &[HF_05, HF_07, HF_09, HF_10, HF_13, HF_18],
        setup,
        amounts
    ),
    check!(
        "an interrupted synchronisation leaves a machine that is shown as incomplete, until another failback completes it",
        &[HF_19, HF_20, HF_21, JO_04],
        setup,
        interrupted
    ),
    check!(
        "a failback to another host is refused for each precondition that is broken, and succeeds when all are repaired",
        &[FB_10, HF_02, HF_14, HF_22, HF_23, HF_24],
        setup,
        another_host
    ),
    check!("a full download creates a machine that was deleted", &[FB_10, HF_11], setup, deleted),
    check!(
        "a machine on managed disks cannot fail back to Hyper-V, one in a storage account can",
        &[HF_26],
        setup,
        managed_disks
    ),
];

fn failback(item: &ItemId, sync: DataSync) -> FailoverRequest {
    FailoverRequest { shut_down_source: false, data_sync: Some(sync), ..FailoverRequest::planned(item, BACK) }
}

/// Protects a machine with changed target settings, fails it over without loss, and commits.
async fn committed_in_cloud(
    testbed: &Testbed,
    install: &SimInstall,
    change: impl FnOnce(TargetSettings) -> TargetSettings,
) -> Result<ItemId, EarlyEnd> {
    let with_target =
        |request: EnableProtection| EnableProtection { target: change(request.target), ..request };
    let item = testbed.protect_as(install, with_target).await?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.completed(testbed.core.failover(&failover_with_shutdown(&item)).await).await?;
    testbed.commit(&item).await?;
    testbed.advance(INTERVAL).await;
    Ok(item)
}

/// Protects a machine with the usual target settings, fails it over without loss, and commits.
async fn web_in_cloud(testbed: &Testbed) -> Result<ItemId, EarlyEnd> {
    committed_in_cloud(testbed, &SimInstall::new("web"), |target| target).await
}

/// Starts a failback and waits until it waits to be completed.
async fn until_waiting(testbed: &Testbed, request: &FailoverRequest) -> Result<JobId, EarlyEnd> {
    waiting(testbed, testbed.core.failover(request).await?).await
}

/// Waits until a failback waits to be completed.
async fn waiting(testbed: &Testbed, job: JobId) -> Result<JobId, EarlyEnd> {
    let view = testbed.until(&job, |view| view.state == JobState::WaitingForCompletion).await?;
    match view.state {
        JobState::WaitingForCompletion => Ok(job),
        JobState::Completed | JobState::CompletedWithWarning => {
            Err(EarlyEnd::core(HF_08, "the failback was completed before the operator asked for it"))
        }
        _ => Err(TestbedError::from(JobFailed::from(view)).into()),
    }
}

/// Completes a failback that waits, and lets the machine boot.
async fn complete(testbed: &Testbed, item: &ItemId, job: &JobId) -> Result<(), EarlyEnd> {
    testbed.core.complete_failover(item).await?;
    testbed.completed(job).await?;
    testbed.advance(BOOT).await;
    Ok(())
}

async fn two_phases(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = web_in_cloud(testbed).await?;
    testbed.recovery.components().remove("cloud-process-server");
    testbed.recovery.components().remove("private-link");
    let records_before = testbed.boots("web")?.target.acks().len();
    testbed.recovery.set_link(Link { latency: INTERVAL, ..Link::default() });
    let answer = testbed.core.failover(&failback(&item, DataSync::BeforeFailover)).await;
    let refusal = answer.as_ref().err().map(|error| error.code);
    rules.check(HF_01, refusal.is_none(), format!("a failback without a reprotection: {refusal:?}"));
    rules.check(HF_27, refusal.is_none(), format!("a failback without those components: {refusal:?}"));
    let job = waiting(testbed, answer?).await?;
    let Boots { target: copy, .. } = testbed.boots("web")?;
    let more = copy.acks().len() - records_before;
    let found = format!("the cloud machine wrote {more} records while data was synchronised");
    rules.check(HF_06, more > 0 && copy.ended().is_none(), found);
    testbed.recovery.set_link(Link::default());

    waits_for_completion(testbed, rules, &job).await?;
    complete(testbed, &item, &job).await?;
    let view = testbed.core.job(&job).await?;
    let offered = view.actions.contains(&JobAction::Complete);
    rules.check(JO_02, !offered, format!("the ended job offers {:?}", view.actions));

    let boots = testbed.failback_boots("web", &testbed.primary)?;
    let Boots { source, target } = &boots;
    let found = format!(
        "the cloud machine ended {:?}, the original was started {:?}",
        source.ended(),
        target.started
    );
    for rule in [FB_06, FB_07, LC_10] {
        rules.check(rule, boots.never_overlap(), found.clone());
    }
    check_returned(rules, HF_05, testbed, ("web", &testbed.primary))?;
    let view = testbed.item(&item).await?;
    let pending = view.protection.phase == Phase::CommitPending && target.up.is_ok();
    rules.check(HF_15, pending, format!("{:?}, up: {:?}", view.protection, target.up));
    let power = power_of_copy(testbed).await?;
    let found = format!("before commit the cloud machine is {power:?}");
    rules.check(FB_12, power == Some(PowerState::Off), found);
    rules.check(LC_12, view.protection.active == Side::Primary, format!("{:?}", view.protection));
    let offered = view.allowed.contains(&Operation::ReverseReplicate);
    rules.check(HF_17, !offered, format!("reverse replication is offered before commit: {offered}"));
    commits_and_replicates(testbed, rules, &item).await
}

/// A job whose data is synchronised waits for as long as it takes.
async fn waits_for_completion(testbed: &Testbed, rules: &mut RuleLog, job: &JobId) -> Result<(), EarlyEnd> {
    testbed.advance(Millis(30 * HOUR.0)).await;
    let view = testbed.core.job(job).await?;
    let serves = testbed.boots("web")?.target.ended().is_none();
    let found = format!("after thirty hours the job is {:?}; the cloud machine serves: {serves}", view.state);
    rules.check(HF_08, view.state == JobState::WaitingForCompletion && serves, found);
    let offered = view.actions.contains(&JobAction::Complete);
    rules.check(JO_02, offered, format!("the waiting job offers {:?}", view.actions));
    Ok(())
}

/// HF-16, HF-17: after commit the cloud machine is gone, and the machine can be protected again.
async fn commits_and_replicates(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
) -> Result<(), EarlyEnd> {
    testbed.commit(item).await?;
    let machines = testbed.recovery.machines().await?.len();
    let view = testbed.item(item).await?;
    let offered = view.allowed.contains(&Operation::ReverseReplicate);
    let found = format!("{machines} machines in the cloud; {:?}", view.allowed);
    rules.check(HF_16, machines == 0 && offered, found);
    testbed.completed(testbed.core.reverse_replicate(item).await).await?;
    testbed.wait_for_points(item, 2).await?;
    let at = testbed.item(item).await?.protection;
    let protected = at.phase == Phase::Protected && at.active == Side::Primary;
    rules.check(HF_17, protected, format!("after reverse replication: {at:?}"));
    testbed.fail_over(item, PointChoice::Latest).await?;
    check_that(rules, HF_01, testbed.recovered("web")?.writes > 0, "it can fail over once more");
    Ok(())
}

/// How long neither machine ran.
fn downtime(testbed: &Testbed) -> Result<Millis, EarlyEnd> {
    let Boots { source, target } = testbed.failback_boots("web", &testbed.primary)?;
    let off = source.ended().ok_or_else(|| EarlyEnd::core(LC_10, "the cloud machine still runs"))?.0;
    Ok(target.started.since(off))
}

/// Compares a full download with a synchronisation of differences over a slow link: the bytes that
/// arrive and are read, counted at the sites, and the time during which neither machine runs.
async fn amounts(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = committed_in_cloud(testbed, &filling("web"), |target| target).await?;
    testbed.advance(Millis(3 * HOUR.0)).await;
    testbed.recovery.set_link(Link { bytes_per_second: 512 * 1024, ..Link::default() });
    full_download(testbed, rules, &item).await?;
    let downtime_of_download = downtime(testbed)?;
    testbed.commit(&item).await?;
    let before = testbed.recovery.written().0;
    testbed.completed(testbed.core.reverse_replicate(&item).await).await?;
    testbed.wait_for_points(&item, 1).await?;
    let out = testbed.recovery.written().0 - before;
    let changed = written_since(&testbed.failback_boots("web", &testbed.primary)?.target, Timestamp(0));
    let found = format!("{out} bytes arrived in reverse replication, {changed} had changed");
    rules.check(HF_18, out <= most(changed), found);

    let planned = FailoverRequest { shut_down_source: false, ..FailoverRequest::planned(&item, OUT) };
    testbed.completed(testbed.core.failover(&planned).await).await?;
    testbed.commit(&item).await?;
    testbed.advance(BOOT).await;
    let download = downtime_of_download;
    synchronisation(testbed, rules, &item, download).await?;
    testbed.recovery.set_link(Link::default());
    downloads_everything(testbed, rules, &item).await
}

/// A full download transfers everything and does not read what is on premises.
async fn full_download(testbed: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), EarlyEnd> {
    let disks = testbed.copy_of("web").await?.disks;
    let size: u64 = disks.iter().map(|disk| disk.size.0).sum();
    let content = content(testbed).await?;
    let (written, read) = (testbed.primary.written().0, testbed.primary.read().0);
    let request = failback(item, DataSync::DuringFailover);
    testbed.completed(testbed.core.failover(&request).await).await?;
    let arrived = testbed.primary.written().0 - written;
    let compared = testbed.primary.read().0 - read;
    let found = format!(
        "{arrived} bytes arrived, {content} of {size} have content; {compared} were read on premises"
    );
    rules.check(HF_10, arrived >= content && content > size / 2 && compared < content / 8, found);
    testbed.advance(BOOT).await;
    check_returned(rules, HF_05, testbed, ("web", &testbed.primary))?;
    Ok(())
}

/// A synchronisation transfers differences in its first phase and the rest in its second one.
async fn synchronisation(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    downtime_of_download: Millis,
) -> Result<(), EarlyEnd> {
    let before = testbed.primary.written().0;
    let began = testbed.world.clock().now();
    let copy = testbed.boots("web")?.target;
    let job = until_waiting(testbed, &failback(item, DataSync::BeforeFailover)).await?;
    let first = testbed.primary.written().0 - before;
    testbed.boots("web")?;
    let changed = written_since(&copy, Timestamp(0));
    let found = format!("{first} bytes arrived in the first phase, {changed} had changed");
    rules.check(HF_09, first <= most(changed), found);
    complete(testbed, item, &job).await?;
    let second = testbed.primary.written().0 - before - first;
    let changed = written_since(&copy, began);
    let found = format!("{second} bytes arrived in the second phase, {changed} had changed since it began");
    rules.check(HF_07, second <= most(changed), found);
    check_returned(rules, HF_05, testbed, ("web", &testbed.primary))?;
    let downtime = downtime(testbed)?;
    let found =
        format!("neither machine ran for {downtime}, and for {downtime_of_download} in a full download");
    rules.check(HF_13, downtime < downtime_of_download, found);
    Ok(())
}

/// HF-10: a full download transfers everything although hardly anything differs.
async fn downloads_everything(testbed: &Testbed, rules: &mut RuleLog, item: &ItemId) -> Result<(), EarlyEnd> {
    testbed.commit(item).await?;
    testbed.completed(testbed.core.reverse_replicate(item).await).await?;
    testbed.wait_for_points(item, 1).await?;
    let planned = FailoverRequest { shut_down_source: false, ..FailoverRequest::planned(item, OUT) };
    testbed.completed(testbed.core.failover(&planned).await).await?;
    testbed.commit(item).await?;
    testbed.advance(BOOT).await;
    let content = content(testbed).await?;
    let before = testbed.primary.written().0;
    let request = failback(item, DataSync::DuringFailover);
    testbed.completed(testbed.core.failover(&request).await).await?;
    let full = testbed.primary.written().0 - before;
    let found = format!("hardly anything differed: {full} bytes arrived, {content} have content");
    rules.check(HF_10, full >= content, found);
    Ok(())
}

/// How much of the cloud machine's disks is not zero, in bytes.
async fn content(testbed: &Testbed) -> Result<u64, EarlyEnd> {
    let mut bytes = 0;
    for disk in testbed.copy_of("web").await?.disks {
        bytes += nonzero_bytes(&volume_content(&testbed.recovery, &disk.volume)?, CHUNK);
    }
    Ok(bytes)
}

/// Cancels a failback while it synchronises, cancels one while it waits, and lets one fail in the
/// middle of a disk.
async fn interrupted(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = web_in_cloud(testbed).await?;
    let request = failback(&item, DataSync::BeforeFailover);
    testbed.recovery.set_link(Link { latency: INTERVAL, ..Link::default() });
    let job = testbed.core.failover(&request).await?;
    testbed.advance(Millis(3 * INTERVAL.0 / 2)).await;
    testbed.core.cancel_job(&job).await?;
    incomplete(testbed, rules, &item, &job, JobState::Cancelled).await?;
    testbed.recovery.set_link(Link::default());

    let job = until_waiting(testbed, &request).await?;
    testbed.core.cancel_failover(&item).await?;
    incomplete(testbed, rules, &item, &job, JobState::Cancelled).await?;

    testbed.primary.inject(&SimFault::WriteError(3));
    let job = testbed.core.failover(&failback(&item, DataSync::DuringFailover)).await?;
    incomplete(testbed, rules, &item, &job, JobState::Failed).await?;
    testbed.primary.heal();
    testbed.advance(BOOT).await;

    let job = until_waiting(testbed, &request).await?;
    complete(testbed, &item, &job).await?;
    let shown_incomplete = testbed.item(&item).await?.synchronisation_incomplete;
    check_returned(rules, HF_20, testbed, ("web", &testbed.primary))?;
    rules.check(HF_20, !shown_incomplete, format!("shown as incomplete: {shown_incomplete}"));
    // The commit that is refused after an interruption.
    let committed = testbed.commit(&item).await;
    succeeds(rules, (HF_19, "a commit of the complete failback"), committed)?;
    Ok(())
}

/// After an interrupted failback its job ended as `expected`, the original is shown as incomplete
/// and is off, and the cloud machine goes on serving.
async fn incomplete(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    job: &JobId,
    expected: JobState,
) -> Result<(), EarlyEnd> {
    let ended = testbed.ended(job).await?.state;
    rules.check(JO_04, ended == expected, format!("the job ended {ended:?}"));
    let view = testbed.item(item).await?;
    let at = view.protection;
    let in_cloud = at.phase == Phase::Committed && at.active == Side::Recovery;
    let found = format!("{expected:?}: {at:?}, shown as incomplete: {}", view.synchronisation_incomplete);
    rules.check(HF_19, view.synchronisation_incomplete && in_cloud, found);
    let power = testbed.machine_at(&testbed.primary, "web").await?.power;
    rules.check(HF_19, power == PowerState::Off, format!("the incomplete machine is {power:?}"));
    testbed.advance(BOOT).await;
    let records_before = testbed.boots("web")?.target.acks().len();
    testbed.advance(BOOT).await;
    let Boots { target: copy, .. } = testbed.boots("web")?;
    let serves = copy.ended().is_none() && copy.acks().len() > records_before;
    rules.check(HF_21, serves, format!("{expected:?}: the cloud machine goes on serving: {serves}"));
    let what = format!("a commit after the job ended {expected:?}");
    let codes = [ErrorCode::NotAllowedInState];
    forbids(testbed, rules, (HF_19, &what), &codes, testbed.core.commit(item)).await?;
    let offered = view.allowed.contains(&Operation::PlannedFailover);
    rules.check(HF_20, offered, format!("{expected:?}: another failback is offered: {offered}"));
    Ok(())
}

async fn delete_original(testbed: &Testbed) -> Result<(), EarlyEnd> {
    let original = testbed.machine_at(&testbed.primary, "web").await?;
    testbed.primary.delete_machine(&original.id).await?;
    for disk in original.disks {
        testbed.primary.delete_volume(&disk.volume).await?;
    }
    Ok(())
}

async fn another_host(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let encrypted = |target| TargetSettings { encrypted_with: Some(CERTIFICATE.to_owned()), ..target };
    let item = committed_in_cloud(testbed, &SimInstall::new("web"), encrypted).await?;
    delete_original(testbed).await?;
    let good = FailoverRequest {
        certificate: Some(CERTIFICATE.to_owned()),
        alternate: alternate_host("host-2", true),
        ..failback(&item, DataSync::BeforeFailover)
    };
    for row in HYPERV_FAILBACK {
        let Some(rule) = RuleId::find(row.rule) else { continue };
        let mut request = good.clone();
        (row.break_it)(testbed, &mut request);
        let what = format!("a failback with {:?}", row.code);
        forbids(testbed, rules, (rule, &what), &[row.code], testbed.core.failover(&request)).await?;
        (row.repair)(testbed);
    }
    let job = until_waiting(testbed, &good).await?;
    complete(testbed, &item, &job).await?;
    let complete = testbed.came_back("web", &testbed.primary)?;
    let placement = testbed.machine_at(&testbed.primary, "web").await?.placement;
    let there = complete && placement.host == Some("host-2".into());
    rules.check(HF_22, there, format!("complete: {complete}; its host is {:?}", placement.host));
    check_that(rules, FB_10, there, "the failback is complete although the original was deleted");
    let switch = placement.switch.as_deref() == Some("External");
    rules.check(HF_23, switch, format!("its virtual switch is {:?}", placement.switch));
    Ok(())
}

async fn deleted(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = web_in_cloud(testbed).await?;
    delete_original(testbed).await?;
    let request = failback(&item, DataSync::DuringFailover);
    testbed.completed(testbed.core.failover(&request).await).await?;
    testbed.advance(BOOT).await;
    let complete = testbed.came_back("web", &testbed.primary)?;
    check_that(rules, HF_11, complete, "the failback is complete although machine and disks were deleted");
    check_that(rules, FB_10, complete, "the failback is complete although the original was deleted");
    Ok(())
}

async fn managed_disks(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    for (name, disk_kind) in [("managed", DiskKind::Managed), ("web", DiskKind::StorageAccount)] {
        let placement = Placement { disk_kind, ..Placement::default() };
        let target = |target| TargetSettings { placement, ..target };
        let item = committed_in_cloud(testbed, &SimInstall::new(name), target).await?;
        let request = failback(&item, DataSync::DuringFailover);
        if disk_kind == DiskKind::Managed {
            let what = (HF_26, "a failback from managed disks");
            forbids(testbed, rules, what, &[ErrorCode::ManagedDisks], testbed.core.failover(&request))
                .await?;
            continue;
        }
        testbed.completed(testbed.core.failover(&request).await).await?;
        let complete = testbed.came_back(name, &testbed.primary)?;
        check_that(rules, HF_26, complete, "the failback from a storage account is complete");
    }
    Ok(())
}
