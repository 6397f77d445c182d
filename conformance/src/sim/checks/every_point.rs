//! Every recovery point that is offered, and not only the one that a failover uses (FX-30).

use contract::{Bytes, DiskId, ItemId, Millis, PointChoice, Policy, RecoveryPoint, TestFailoverRequest};
use simulator::testbed::{BOOT, Boots, HOUR, TestbedError};
use simulator::{Load, SimInstall};

use crate::rules::RuleLog;
use crate::rules::ids::FX_30;
use crate::sim::check::{Check, against, check, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[check!(
    "every recovery point of half a day recovers its moment",
    &[FX_30],
    half_a_day,
    recovers_each_moment
)];

/// Time between two transfers.
const EVERY: Millis = Millis(5 * 60 * 1000);

/// Points are kept as densely as the longest retention keeps them.
fn half_a_day() -> Setup {
    Setup::vmware()
        .with_policy(|policy| Policy { most_points: None, ..Policy::for_machines_of(policy.source, EVERY) })
}

/// A machine whose guest writes a few times between two transfers.
fn calm_machine() -> SimInstall {
    let disks = ["system", "data"].map(|disk| (DiskId::from(disk), Bytes(1 << 20)));
    let load = Load { record_every: Millis(45_000), churn_every: Millis(50_000), ..Load::USUAL };
    SimInstall { disks: disks.to_vec(), load, ..SimInstall::new("web") }
}

async fn recovers_each_moment(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&calm_machine()).await?;
    testbed.wait_for_points(&item, 1).await?;
    testbed.advance(Millis(12 * HOUR.0)).await;
    let offered = testbed.processed_points(&item).await?;
    for point in &offered {
        if is_offered(testbed, &item, point).await? {
            recovers_moment(testbed, rules, &item, point).await?;
        }
    }
    Ok(())
}

/// Whether a point has not expired.
async fn is_offered(testbed: &Testbed, item: &ItemId, point: &RecoveryPoint) -> Result<bool, EarlyEnd> {
    Ok(testbed.processed_points(item).await?.iter().any(|listed| listed.id == point.id))
}

/// FX-30: a test failover to the point starts a machine with what its source had written then.
async fn recovers_moment(
    testbed: &Testbed,
    rules: &mut RuleLog,
    item: &ItemId,
    point: &RecoveryPoint,
) -> Result<(), EarlyEnd> {
    let request = TestFailoverRequest::isolated(item, PointChoice::Custom(point.id.clone()));
    let tested = testbed.completed(testbed.core.test_failover(&request).await).await;
    if let Err(end) = tested {
        let still = is_offered(testbed, item, point).await?;
        return if still { Err(against(rules, FX_30, end)) } else { Ok(()) };
    }
    testbed.advance(BOOT).await;
    let machine = testbed.item(item).await?.test_failover;
    let machine = machine.ok_or_else(|| missing("the name of the test failover's machine"))?;
    let target = testbed.recovery.last_boot(&machine).ok_or_else(|| missing("a boot of it"))?;
    let source = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let age = testbed.world.clock().now().since(point.time);
    let words = match (Boots { source, target }).check_freshness(point.time, point.time) {
        Ok(()) => None,
        Err(TestbedError::NotFresh(found)) => Some(found.to_string()),
        Err(TestbedError::NotAPrefix(found)) => Some(found.to_string()),
        Err(other) => return Err(other.into()),
    };
    let found = words.as_deref().unwrap_or("has what was written before its time, and nothing else");
    rules.check(FX_30, words.is_none(), format!("{}, {age} old: {found}", point.id));
    testbed.completed(testbed.core.clean_up_test_failover(item).await).await?;
    Ok(())
}
