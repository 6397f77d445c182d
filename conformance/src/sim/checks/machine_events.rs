//! What administrators do to a protected machine as a whole: they copy it with its UUID, give it
//! another name, or take a snapshot of it (FX-31, FX-47, FX-48).

use contract::{Health, MachineId, Millis, Platform as _, PointChoice};
use simulator::SimProfile;
use simulator::testbed::{BOOT, Boots, INTERVAL, cloud_machine, failover_to};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::checks::variety::{check_exact, with_few_writes};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a copy with the same UUID changes no recovery point of a machine",
        &[FX_47],
        || Setup::of(SimProfile::AZURE),
        is_copied
    ),
    check!(
        "an item whose machine has another name is not shown as healthy without new points",
        &[FX_48],
        Setup::vmware,
        is_renamed
    ),
    check!(
        "a machine that gets snapshots while it is protected is recovered with what lies below them",
        &[FX_31],
        || Setup::of(SimProfile::AZURE),
        gets_snapshots
    ),
];

/// A machine is shut down, something is done to it, and it is started again.
const SHUTDOWN: Millis = Millis(60_000);
/// How long replication goes on afterwards.
const AFTERWARDS: Millis = Millis(10 * INTERVAL.0);

async fn is_copied(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    let (site, web, copy) = (&testbed.primary, MachineId::from("web"), MachineId::from("web-copy"));
    site.shut_down(&web, SHUTDOWN).await?;
    site.clone_machine(&web, &copy).await?;
    site.start(&copy).await?;
    site.start(&web).await?;
    testbed.advance(AFTERWARDS).await;
    site.lose();
    let failed_over = testbed.fail_over(&item, PointChoice::Latest).await;
    failed_over.map_err(|end| against(rules, FX_47, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_47, &testbed.boots("web")?)
}

async fn is_renamed(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    let (site, web, other) = (&testbed.primary, MachineId::from("web"), MachineId::from("shop"));
    let mut source = site.last_boot(&web).ok_or_else(|| missing("a boot of web"))?;
    site.shut_down(&web, SHUTDOWN).await?;
    site.rename_machine(&web, &other)?;
    let renamed = testbed.world.clock().now();
    site.start(&other).await?;
    testbed.advance(AFTERWARDS).await;
    let view = testbed.item(&item).await?;
    let later = view.points.iter().any(|point| point.processed && point.time > renamed);
    let found = format!("there are later points: {later}, health {:?}", view.health);
    rules.check(FX_48, later || view.health != Health::Healthy, found);
    if later {
        source = site.last_boot(&other).ok_or_else(|| missing("a boot of shop"))?;
    }
    site.lose();
    let request = failover_to(&item, PointChoice::LatestProcessed);
    let failed_over = testbed.completed(testbed.core.failover(&request).await).await;
    succeeds(rules, (FX_48, "a failover to the last point"), failed_over)?;
    testbed.advance(BOOT).await;
    let target = testbed.recovery.last_boot(&cloud_machine("web")).ok_or_else(|| missing("a boot"))?;
    check_exact(rules, FX_48, &Boots { source, target })
}

async fn gets_snapshots(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_few_writes()).await?;
    testbed.wait_for_points(&item, 3).await?;
    let (site, web) = (&testbed.primary, MachineId::from("web"));
    for _ in 0..2 {
        site.shut_down(&web, SHUTDOWN).await?;
        site.snapshot_machine(&web)?;
        site.start(&web).await?;
        testbed.advance(Millis(4 * INTERVAL.0)).await;
    }
    site.lose();
    let failed_over = testbed.fail_over(&item, PointChoice::Latest).await;
    failed_over.map_err(|end| against(rules, FX_31, end))?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_31, &testbed.boots("web")?)
}
