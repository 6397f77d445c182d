//! The machine that a core makes: a stranger has its name, somebody deletes it, protection ends
//! while it serves, or the job fails for which it was made (FX-19, FX-22, FX-24, FX-40).

use contract::{
    Bytes, DiskView, ItemId, JobState, MachineId, Millis, Phase, Platform, PlatformErrorKind, PointChoice,
    ReprotectRequest, TestFailoverRequest,
};
use simulator::testbed::{BACK, BOOT, INTERVAL, cloud_machine, fail_calls, failover_to};
use simulator::{Call, SimInstall, SimSite};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, missing, succeeds};
use crate::sim::checks::failed_calls::succeeded;
use crate::sim::checks::variety::check_exact;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a failover whose new machine was deleted is not committed, and another point makes a new one",
        &[FX_19],
        Setup::vmware,
        deleted_before_commit
    ),
    check!(
        "protection that ends before the commit leaves both machines alone",
        &[FX_22],
        Setup::vmware,
        protection_ends(Stage::FailedOver)
    ),
    check!(
        "protection that ends after the commit leaves both machines alone",
        &[FX_22],
        Setup::vmware,
        protection_ends(Stage::Committed)
    ),
    check!(
        "protection that ends on the way back leaves both machines alone",
        &[FX_22],
        Setup::vmware,
        protection_ends(Stage::Reprotected)
    ),
    check!(
        "a failover leaves a machine alone that has its target's name",
        &[FX_24],
        Setup::vmware,
        stranger_at_failover
    ),
    check!(
        "a test failover leaves a machine alone that has its machine's name",
        &[FX_24],
        Setup::vmware,
        stranger_at_test_failover
    ),
    check!(
        "a reprotection leaves a machine alone that has the name of the original, which is gone",
        &[FX_24],
        Setup::vmware,
        stranger_at_reprotection
    ),
    check!(
        "a machine made for a reprotection that failed does not stay when protection has ended",
        &[FX_40],
        Setup::vmware,
        abandoned_target
    ),
];

/// How far a failover has come when protection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FailedOver,
    Committed,
    Reprotected,
}

/// A machine of a site as it is at one moment.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    disks: Vec<DiskView>,
    boot: Option<u32>,
    runs: bool,
}

impl Standing {
    /// `None` if there is no such machine, or a volume of one of its disks is gone.
    async fn of(site: &SimSite, machine: &MachineId) -> Result<Option<Self>, EarlyEnd> {
        let machines = site.machines().await?;
        let Some(view) = machines.into_iter().find(|view| view.id == *machine) else { return Ok(None) };
        let is_whole = view.disks.iter().all(|disk| site.snapshot(&disk.volume).is_some());
        let boot = site.last_boot(machine);
        let runs = boot.as_ref().is_some_and(|boot| boot.ended().is_none());
        Ok(is_whole.then(|| Self { disks: view.disks, boot: boot.map(|boot| boot.number), runs }))
    }
}

async fn deleted_before_commit(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
    testbed.advance(BOOT).await;
    let points = testbed.processed_points(&item).await?;
    let copy = cloud_machine("web");
    testbed.recovery.power_off(&copy).await?;
    testbed.recovery.delete_machine(&copy).await?;
    let committed = match testbed.core.commit(&item).await {
        Ok(job) => testbed.ended(&job).await?.state,
        Err(_) => JobState::Failed,
    };
    let refused = !matches!(committed, JobState::Completed | JobState::CompletedWithWarning);
    rules.check(FX_19, refused, format!("the commit of a machine that is gone ended {committed:?}"));
    if !refused {
        return Ok(());
    }
    let kept = testbed.processed_points(&item).await?;
    let all = points.iter().all(|point| kept.contains(point));
    rules.check(FX_19, all, format!("{} points before, {} after", points.len(), kept.len()));
    let newest = points.last().ok_or_else(|| missing("a processed point"))?;
    let choice = PointChoice::Custom(newest.id.clone());
    let changed = testbed.completed(testbed.core.change_point(&item, &choice).await).await;
    succeeds(rules, (FX_19, "the choice of a point for a new machine"), changed)?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_19, &testbed.boots("web")?)?;
    succeeds(rules, (FX_19, "its commit"), testbed.commit(&item).await)?;
    Ok(())
}

/// Takes a machine so far.
async fn reach(testbed: &Testbed, stage: Stage) -> Result<ItemId, EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    if stage != Stage::FailedOver {
        testbed.commit(&item).await?;
    }
    if stage == Stage::Reprotected {
        testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
        testbed.wait_for_points(&item, 3).await?;
    }
    Ok(item)
}

async fn protection_ends(testbed: &Testbed, rules: &mut RuleLog, stage: Stage) -> Result<(), EarlyEnd> {
    let item = reach(testbed, stage).await?;
    let copy = cloud_machine("web");
    let machines: [(&SimSite, MachineId); 2] =
        [(&testbed.recovery, copy.clone()), (&testbed.primary, "web".into())];
    let mut before = Vec::new();
    for (site, machine) in &machines {
        before.push(Standing::of(site, machine).await?);
    }
    let ended = match testbed.core.disable_protection(&item).await {
        Ok(job) => testbed.ended(&job).await?.state,
        // Before the commit a core may refuse.
        Err(error) if stage == Stage::FailedOver && error.code != contract::ErrorCode::NotSupported => {
            JobState::Failed
        }
        Err(error) => return Err(error.into()),
    };
    let must = stage != Stage::FailedOver;
    let is_over = matches!(ended, JobState::Completed | JobState::CompletedWithWarning);
    rules.check(FX_22, is_over || !must, format!("{stage:?}: the end of protection ended {ended:?}"));
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    for ((site, machine), before) in machines.iter().zip(before) {
        let now = Standing::of(site, machine).await?;
        let found = format!("{stage:?}: {machine} was {before:?} and is {now:?}");
        rules.check(FX_22, before.is_some() && now == before, found);
    }
    let serves = testbed.recovery.last_boot(&copy).is_some_and(|boot| {
        let now = testbed.world.clock().now();
        boot.acks().last().is_some_and(|ack| now.since(ack.at) < INTERVAL)
    });
    rules.check(FX_22, serves, format!("{stage:?}: {copy} goes on acknowledging records: {serves}"));
    Ok(())
}

/// Installs and starts a machine of somebody else.
async fn stranger(testbed: &Testbed, site: &SimSite, name: &MachineId) -> Result<Option<Standing>, EarlyEnd> {
    let disks = ["first", "second"].map(|disk| (disk.into(), Bytes(1 << 20)));
    site.install(&SimInstall { disks: disks.to_vec(), ..SimInstall::new(name.clone()) })?;
    site.components().set_uuid(name, "57524e47-0000-4000-8000-000000000001");
    site.start(name).await?;
    testbed.advance(BOOT).await;
    Standing::of(site, name).await
}

/// Removes such a machine with its disks.
async fn remove(testbed: &Testbed, site: &SimSite, name: &MachineId) -> Result<(), EarlyEnd> {
    let disks = testbed.machine_at(site, &name.0).await?.disks;
    site.power_off(name).await?;
    site.delete_machine(name).await?;
    for disk in disks {
        site.delete_volume(&disk.volume).await?;
    }
    Ok(())
}

async fn stranger_at_reprotection(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let (site, name) = (&testbed.primary, MachineId::from("web"));
    remove(testbed, site, &name).await?;
    let before = stranger(testbed, site, &name).await?;
    let request = testbed.reprotection(&item, BACK);
    let ended = match testbed.core.reprotect(&request).await {
        Ok(job) => format!("{:?}", testbed.ended(&job).await?.state),
        Err(error) if error.code == contract::ErrorCode::NotSupported => return Err(error.into()),
        Err(error) => format!("refused: {error}"),
    };
    testbed.advance(INTERVAL).await;
    let now = Standing::of(site, &name).await?;
    let found = format!("the reprotection: {ended}; the machine was {before:?} and is {now:?}");
    rules.check(FX_24, before.is_some() && now == before, found);
    if now.is_none() || now != before {
        return Ok(());
    }
    remove(testbed, site, &name).await?;
    let again = testbed.reprotect(&request).await;
    succeeds(rules, (FX_24, "a reprotection once the name is free"), again)?;
    Ok(())
}

async fn stranger_at_failover(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let name = cloud_machine("web");
    let before = stranger(testbed, &testbed.recovery, &name).await?;
    let request = failover_to(&item, PointChoice::Latest);
    let ended = match testbed.core.failover(&request).await {
        Ok(job) => format!("{:?}", testbed.ended(&job).await?.state),
        Err(error) => format!("refused: {error}"),
    };
    testbed.advance(INTERVAL).await;
    let now = Standing::of(&testbed.recovery, &name).await?;
    let found = format!("the failover: {ended}; the machine was {before:?} and is {now:?}");
    rules.check(FX_24, before.is_some() && now == before, found);
    if now.is_none() || now != before {
        return Ok(());
    }
    remove(testbed, &testbed.recovery, &name).await?;
    let again = testbed.fail_over_as(&request).await;
    succeeds(rules, (FX_24, "a failover once the name is free"), again)?;
    Ok(())
}

async fn stranger_at_test_failover(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let request = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
    testbed.completed(testbed.core.test_failover(&request).await).await?;
    let name = testbed.item(&item).await?.test_failover;
    let name = name.ok_or_else(|| missing("the name of the test failover's machine"))?;
    testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    let before = stranger(testbed, &testbed.recovery, &name).await?;
    // A core may have another name for the next one.
    let job = testbed.core.test_failover(&request).await;
    let made = match job {
        Ok(job) => succeeded(&testbed.ended(&job).await?),
        Err(_) => false,
    };
    if testbed.item(&item).await?.test_failover.is_some() {
        testbed.ended(testbed.core.clean_up_test_failover(&item).await).await?;
    }
    let now = Standing::of(&testbed.recovery, &name).await?;
    let found = format!("a test failover was made: {made}; the machine was {before:?} and is {now:?}");
    rules.check(FX_24, before.is_some() && now == before, found);
    let phase = testbed.item(&item).await?.protection.phase;
    rules.check(FX_24, phase == Phase::Protected, format!("the item is {phase:?}"));
    Ok(())
}

/// Reprotects to another site, which fails once the machine has been made there, and then to the
/// site from which the machine came.
async fn abandoned_target(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let to = |site: &SimSite, name: &str| {
        let request = testbed.reprotection_to(&item, site);
        ReprotectRequest { failback_site: Some(name.into()), ..request }
    };
    for call in [Call::AttachToMasterTarget, Call::ExportVolume] {
        fail_calls(&testbed.other, call, PlatformErrorKind::Failed);
    }
    let elsewhere = testbed.ended(testbed.core.reprotect(&to(&testbed.other, "other")).await).await?;
    testbed.other.heal();
    if succeeded(&elsewhere) {
        // This core reports the failure later than in the job.
        rules.leave_out(FX_40);
        return Ok(());
    }
    let home = testbed.reprotect(&to(&testbed.primary, "primary")).await;
    succeeds(rules, (FX_40, "a reprotection home after one to another site that failed"), home)?;
    testbed.wait_for_points(&item, 2).await?;
    testbed.completed(testbed.core.disable_protection(&item).await).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let left = (testbed.other.machines().await?.len(), testbed.other.volumes().len());
    rules.check(
        FX_40,
        left == (0, 0),
        format!("{} machines and {} volumes at the other site", left.0, left.1),
    );
    Ok(())
}
