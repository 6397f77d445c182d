//! The old machine runs again after a failover (FX-25, FX-26).

use contract::{
    CoreError, DataSync, ErrorCode, FailoverRequest, Health, ItemId, ItemView, JobId, JobState, Platform,
    PointChoice,
};
use simulator::SimProfile;
use simulator::testbed::{BACK, BOOT, HOUR, INTERVAL};

use crate::refusal::UNPROTECTED;
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, missing, succeeds};
use crate::sim::checks::failed_calls::succeeded;
use crate::sim::checks::variety::with_few_writes;
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "the old machine runs again before the reprotection: it is reported, and the new one's data is kept",
        &[FX_25, FX_26],
        Setup::vmware,
        runs_before_reprotection
    ),
    check!(
        "the old machine runs again before the commit: it is reported, and the new one's data is kept",
        &[FX_25, FX_26],
        Setup::vmware,
        runs_before_commit
    ),
    check!(
        "the old machine of a Hyper-V host runs again before the failback: it is reported, and the new one's data is kept",
        &[FX_25, FX_26],
        || Setup::of(SimProfile::HYPERV),
        runs_before_failback
    ),
];

/// Whether something is shown of an item that was not before.
fn is_noticed(before: &ItemView, now: &ItemView) -> bool {
    let worse = now.health != before.health && matches!(now.health, Health::Warning | Health::Critical);
    let told = !now.trouble.is_empty() && now.trouble != before.trouble;
    let issue = now.issues.iter().any(|issue| !before.issues.contains(issue));
    worse || told || issue
}

/// Fails over from a lost site, which then comes back.
async fn failed_over(testbed: &Testbed) -> Result<ItemId, EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.advance(BOOT).await;
    testbed.primary.restore();
    testbed.advance(INTERVAL).await;
    Ok(item)
}

async fn runs_before_reprotection(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = failed_over(testbed).await?;
    testbed.commit(&item).await?;
    let before = testbed.item(&item).await?;
    testbed.primary.start(&"web".into()).await?;
    testbed.advance(HOUR).await;
    let noticed = is_noticed(&before, &testbed.item(&item).await?);
    reprotect_and_come_back(testbed, rules, &item, noticed).await
}

async fn runs_before_commit(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = failed_over(testbed).await?;
    let before = testbed.item(&item).await?;
    testbed.primary.start(&"web".into()).await?;
    testbed.advance(HOUR).await;
    let mut noticed = is_noticed(&before, &testbed.item(&item).await?);
    let job = testbed.ended(testbed.core.commit(&item).await).await?;
    noticed |= job.state != JobState::Completed;
    if !succeeded(&job) {
        testbed.primary.power_off(&"web".into()).await?;
        let again = testbed.commit(&item).await;
        succeeds(rules, (FX_26, "a commit once the old machine is off"), again)?;
    }
    reprotect_and_come_back(testbed, rules, &item, noticed).await
}

/// Whether the operation that leads back was done although the old machine ran. A core may refuse
/// it as long as that runs; the old machine is off afterwards. FX-25: the end of the operation
/// reports it, unless it was `noticed` before.
async fn goes_on(
    testbed: &Testbed,
    rules: &mut RuleLog,
    (what, asked): (&str, Result<JobId, CoreError>),
    noticed: bool,
) -> Result<bool, EarlyEnd> {
    let done = match asked {
        Ok(job) => Some(testbed.ended(&job).await?),
        Err(error) if error.code == ErrorCode::NotSupported => return Err(error.into()),
        Err(_) => None,
    };
    let noticed = noticed || done.as_ref().is_none_or(|job| job.state != JobState::Completed);
    let state = done.as_ref().map(|job| job.state);
    let found = format!("the old machine ran for an hour; noticed: {noticed}; {what}: {state:?}");
    rules.check(FX_25, noticed, found);
    let is_done = done.as_ref().is_some_and(succeeded);
    if !is_done {
        testbed.primary.power_off(&"web".into()).await?;
    }
    Ok(is_done)
}

async fn reprotect_and_come_back(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    noticed: bool,
) -> Result<(), EarlyEnd> {
    let back = FailoverRequest::unplanned(item, BACK);
    let what = (FX_26, "a failover to the side of the old machine before the reprotection");
    forbids(testbed, rules, what, UNPROTECTED, testbed.core.failover(&back)).await?;
    let request = testbed.reprotection(item, BACK);
    let asked = testbed.core.reprotect(&request).await;
    if !goes_on(testbed, rules, ("the reprotection", asked), noticed).await? {
        let again = testbed.reprotect(&request).await;
        succeeds(rules, (FX_26, "a reprotection once the old machine is off"), again)?;
    }
    let old = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let is_off = old.ended().is_some();
    rules.check(FX_26, is_off, format!("after the reprotection the old machine is off: {is_off}"));
    testbed.wait_for_points(item, 3).await?;
    testbed.fail_back(item).await?;
    Ok(check_returned(rules, FX_26, testbed, ("web", &testbed.primary))?)
}

/// Fails back to a Hyper-V host, which needs no reprotection before.
async fn runs_before_failback(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = failed_over(testbed).await?;
    testbed.commit(&item).await?;
    let before = testbed.item(&item).await?;
    testbed.primary.start(&"web".into()).await?;
    testbed.advance(HOUR).await;
    let noticed = is_noticed(&before, &testbed.item(&item).await?);
    let sync = Some(DataSync::DuringFailover);
    let request = FailoverRequest { data_sync: sync, ..FailoverRequest::planned(&item, BACK) };
    let asked = testbed.core.failover(&request).await;
    if !goes_on(testbed, rules, ("the failback", asked), noticed).await? {
        let again = testbed.completed(testbed.core.failover(&request).await).await;
        succeeds(rules, (FX_26, "a failback once the old machine is off"), again)?;
    }
    testbed.advance(BOOT).await;
    Ok(check_returned(rules, FX_26, testbed, ("web", &testbed.primary))?)
}
