//! A site that is lost while a job works or after a failover, and one whose answers are lost
//! (FX-21, FX-23).

use contract::{CoreError, JobId, JobView, Millis, Platform, PointChoice};
use simulator::testbed::{BACK, BOOT, INTERVAL, cloud_machine, failover_to};
use simulator::{Call, SimFault, SimProfile, SimSite};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check, succeeds};
use crate::sim::checks::failed_calls::{again, succeeded};
use crate::sim::checks::variety::{check_exact, with_any_writes};
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a failover is made again whose recovery site was lost before it made disks",
        &[FX_21],
        Setup::vmware,
        failover_loses_site(&[Call::DeriveVolume, Call::CreateVolume])
    ),
    check!(
        "a failover is made again whose recovery site was lost before it made the machine",
        &[FX_21],
        Setup::vmware,
        failover_loses_site(&[Call::CreateMachine])
    ),
    check!(
        "a failover is made again whose recovery site was lost before it started the machine",
        &[FX_21],
        Setup::vmware,
        failover_loses_site(&[Call::Start])
    ),
    check!(
        "a commit is made again whose recovery site was lost during its merges",
        &[FX_21],
        Setup::vmware,
        commit_loses_site
    ),
    check!(
        "a machine comes back whose recovery site was lost after the failover",
        &[FX_21],
        Setup::vmware,
        second_disaster
    ),
    check!(
        "a reprotection is made again whose primary site was lost meanwhile",
        &[FX_21],
        Setup::vmware,
        reprotection_loses_site
    ),
    // Between regions a machine also boots from the point itself, because it needs no hydration.
    check!(
        "what a machine wrote that ran in a failed failover is in no later point",
        &[FX_23],
        || Setup::of(SimProfile::AZURE),
        machine_of_failed_failover
    ),
];

/// What a core lacks whose job does not call its site where the site is to be lost.
const LOSABLE: &str = "calls-its-site-in-this-job";

/// Lets a job go on without its site for a while, records that it does not succeed meanwhile, and
/// follows it to its end with the site.
async fn ends_without_site(
    testbed: &Testbed,
    rules: &mut RuleLog,
    (what, site): (&str, &SimSite),
    job: Result<JobId, CoreError>,
) -> Result<JobView, EarlyEnd> {
    let job = job?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let view = testbed.core.job(&job).await?;
    if site.site().await.is_ok() {
        // This core does without the call at which its site would have been lost.
        rules.skip(FX_21, LOSABLE);
    } else {
        let found = format!("{what} whose site was lost is {:?}", view.state);
        rules.check(FX_21, !succeeded(&view), found);
    }
    site.heal();
    Ok(testbed.ended(&job).await?)
}

async fn failover_loses_site(
    testbed: &Testbed,
    rules: &mut RuleLog,
    at: &'static [Call],
) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    for call in at {
        testbed.recovery.inject(&SimFault::LostAt(*call));
    }
    let request = failover_to(&item, PointChoice::LatestProcessed);
    let asked = testbed.core.failover(&request).await;
    let job = ends_without_site(testbed, rules, ("a failover", &testbed.recovery), asked).await?;
    testbed.advance(Millis(2 * INTERVAL.0)).await;
    if !succeeded(&job) {
        let again = again(testbed, &job, &request).await;
        succeeds(rules, (FX_21, "the failover once the site is back"), again)?;
    }
    testbed.advance(BOOT).await;
    check_exact(rules, FX_21, &testbed.boots("web")?)
}

async fn commit_loses_site(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 4).await?;
    testbed.fail_over_as(&failover_to(&item, PointChoice::LatestProcessed)).await?;
    testbed.advance(BOOT).await;
    testbed.recovery.inject(&SimFault::LostAt(Call::MergeVolumes));
    let job = testbed.core.commit(&item).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    testbed.recovery.heal();
    let job = testbed.ended(&job).await?;
    testbed.recovery.start(&cloud_machine("web")).await?;
    testbed.advance(BOOT).await;
    if !succeeded(&job) {
        succeeds(rules, (FX_21, "a commit once the site is back"), testbed.commit(&item).await)?;
    }
    come_back(testbed, rules, &item).await
}

async fn second_disaster(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 4).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.advance(INTERVAL).await;
    testbed.recovery.lose();
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    testbed.recovery.restore();
    testbed.recovery.start(&cloud_machine("web")).await?;
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    let up = testbed.recovery.last_boot(&cloud_machine("web")).is_some_and(|boot| boot.up.is_ok());
    rules.check(FX_21, up, format!("the machine comes up again at the site that was lost: {up}"));
    succeeds(rules, (FX_21, "the commit of a machine whose site is back"), testbed.commit(&item).await)?;
    come_back(testbed, rules, &item).await
}

/// Reprotects and fails back.
async fn come_back(testbed: &Testbed, rules: &mut RuleLog, item: &contract::ItemId) -> Result<(), EarlyEnd> {
    let reprotected = testbed.reprotect(&testbed.reprotection(item, BACK)).await;
    succeeds(rules, (FX_21, "a reprotection afterwards"), reprotected)?;
    testbed.wait_for_points(item, 2).await?;
    testbed.fail_back(item).await?;
    Ok(check_returned(rules, FX_21, testbed, ("web", &testbed.primary))?)
}

async fn reprotection_loses_site(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    testbed.primary.inject(&SimFault::LostAt(Call::CloseExport));
    let asked = testbed.core.reprotect(&testbed.reprotection(&item, BACK)).await;
    let job = ends_without_site(testbed, rules, ("a reprotection", &testbed.primary), asked).await?;
    testbed.advance(INTERVAL).await;
    if succeeded(&job) {
        testbed.wait_for_points(&item, 2).await?;
        testbed.fail_back(&item).await?;
        return Ok(check_returned(rules, FX_21, testbed, ("web", &testbed.primary))?);
    }
    come_back(testbed, rules, &item).await
}

async fn machine_of_failed_failover(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.wait_until_idle().await?;
    // The machine is started, and nobody learns of it.
    testbed.recovery.inject(&SimFault::CutFrom(Call::Start));
    let request = failover_to(&item, PointChoice::LatestProcessed);
    let job = testbed.core.failover(&request).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let ran = testbed.recovery.last_boot(&cloud_machine("web"));
    let wrote = ran.map_or(0, |boot| boot.log().len());
    testbed.recovery.heal();
    let job = testbed.ended(&job).await?;
    if wrote == 0 {
        return Err(EarlyEnd::inconclusive("the machine of the failover wrote nothing"));
    }
    // A core may have waited for the answer and found the machine running.
    if !succeeded(&job) {
        testbed.advance(Millis(3 * INTERVAL.0)).await;
        let failed_over = testbed.fail_over_as(&failover_to(&item, PointChoice::Latest)).await;
        let failed_over = failed_over.map_err(|end| against(rules, FX_23, end));
        succeeds(rules, (FX_23, "a failover after the one that failed"), failed_over)?;
    }
    testbed.advance(BOOT).await;
    check_exact(rules, FX_23, &testbed.boots("web")?)
}
