//! Copies of whole disks that are interrupted (FX-20), and points whose applications could not be
//! quiesced (FX-18).

use contract::{Consistency, ErrorCode, ItemId, JobAction, JobView, Millis, PointChoice, Policy};
use simulator::SimFault;
use simulator::testbed::{BACK, BOOT, INTERVAL, enable_request, failover_to};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check, succeeds};
use crate::sim::checks::failed_calls::succeeded;
use crate::sim::checks::variety::{check_exact, with_any_writes};
use crate::sim::disks::check_returned;
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a first copy is complete whose first write failed",
        &[FX_20],
        Setup::vmware,
        first_copy(SimFault::WriteError(1))
    ),
    check!(
        "a first copy is complete whose third write failed",
        &[FX_20],
        Setup::vmware,
        first_copy(SimFault::WriteError(3))
    ),
    check!(
        "a first copy is complete that could not read its source",
        &[FX_20],
        Setup::vmware,
        first_copy(SimFault::ReadError(2))
    ),
    check!(
        "a first copy is complete whose link was cut",
        &[FX_20],
        Setup::vmware,
        first_copy(SimFault::LinkCut)
    ),
    check!(
        "a reprotection is complete whose second write failed",
        &[FX_20],
        Setup::vmware,
        reprotection(SimFault::WriteError(2))
    ),
    check!(
        "a reprotection is complete that could not read its source",
        &[FX_20],
        Setup::vmware,
        reprotection(SimFault::ReadError(2))
    ),
    check!(
        "no point is application-consistent while the applications cannot be quiesced",
        &[FX_18],
        often_app_consistent,
        quiesce_refused
    ),
];

/// Injects a fault where it strikes a copy from the one site to the other: reads fail at the
/// source, writes at the target.
fn strike(fault: &SimFault, source: &simulator::SimSite, target: &simulator::SimSite) {
    match fault {
        SimFault::WriteError(_) => target.inject(fault),
        _ => source.inject(fault),
    };
}

async fn first_copy(testbed: &Testbed, rules: &mut RuleLog, fault: SimFault) -> Result<(), EarlyEnd> {
    testbed.install(&with_any_writes()).await?;
    strike(&fault, &testbed.primary, &testbed.recovery);
    let request = enable_request("web");
    let job = testbed.core.enable_protection(&request).await?;
    // A core may wait for a link that is cut.
    testbed.advance(Millis(2 * INTERVAL.0)).await;
    testbed.world.heal();
    let job = testbed.ended(&job).await?;
    if !succeeded(&job) {
        succeeds(rules, (FX_20, "a first copy once the fault is gone"), copy_again(testbed, &job).await)?;
    }
    let item: ItemId = request.item;
    testbed.wait_for_points(&item, 3).await?;
    testbed.primary.lose();
    testbed.fail_over(&item, PointChoice::Latest).await.map_err(|end| against(rules, FX_20, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_20, &testbed.boots("web")?)
}

/// Protects a machine whose first copy failed: by a retry if the core offers one, otherwise by the
/// same request. A core that kept the machine may go on by itself.
async fn copy_again(testbed: &Testbed, job: &JobView) -> Result<(), EarlyEnd> {
    if testbed.core.job(&job.id).await?.actions.contains(&JobAction::Retry) {
        testbed.core.retry_job(&job.id).await?;
        testbed.completed(&job.id).await?;
        return Ok(());
    }
    match testbed.core.enable_protection(&enable_request("web")).await {
        Err(error) if error.code == ErrorCode::AlreadyProtected => Ok(()),
        job => Ok(testbed.completed(job).await.map(drop)?),
    }
}

async fn reprotection(testbed: &Testbed, rules: &mut RuleLog, fault: SimFault) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    strike(&fault, &testbed.recovery, &testbed.primary);
    let request = testbed.reprotection(&item, BACK);
    let job = testbed.ended(testbed.core.reprotect(&request).await).await?;
    testbed.world.heal();
    if !succeeded(&job) {
        let again = testbed.reprotect(&request).await;
        succeeds(rules, (FX_20, "a reprotection once the fault is gone"), again)?;
    }
    testbed.wait_for_points(&item, 2).await?;
    testbed.fail_back(&item).await?;
    Ok(check_returned(rules, FX_20, testbed, ("web", &testbed.primary))?)
}

/// A policy that takes every third point application-consistent.
fn often_app_consistent() -> Setup {
    Setup::vmware()
        .with_policy(|policy| Policy { app_consistent_every: Some(Millis(3 * INTERVAL.0)), ..policy })
}

async fn quiesce_refused(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    testbed.primary.inject(&SimFault::QuiesceRefused("web".into()));
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 8).await?;
    let points = testbed.item(&item).await?.points;
    let labelled = points.iter().filter(|point| point.consistency == Consistency::App).count();
    let found = format!("{labelled} of {} points are called application-consistent", points.len());
    rules.check(FX_18, labelled == 0, found);
    let request = failover_to(&item, PointChoice::LatestAppConsistent);
    let what = (FX_18, "a failover to an application-consistent point while there is none");
    forbids(testbed, rules, what, &[ErrorCode::NoRecoveryPoint], testbed.core.failover(&request)).await?;
    testbed.primary.heal();
    for _ in 0..20 {
        testbed.advance(INTERVAL).await;
        let points = testbed.processed_points(&item).await?;
        if points.iter().any(|point| point.consistency == Consistency::App) {
            break;
        }
    }
    let failed_over = testbed.fail_over_as(&request).await;
    succeeds(rules, (FX_18, "a failover to an application-consistent point afterwards"), failed_over)?;
    let quiesced = testbed.boots("web")?.is_quiesced()?;
    rules.check(FX_18, quiesced, format!("the last write on its disks is a quiesce mark: {quiesced}"));
    Ok(())
}
