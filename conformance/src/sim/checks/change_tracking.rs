//! What a core does when its source can no longer say what changed (EX-R9).

use std::sync::Arc;

use contract::{ItemId, Millis, Platform, PointChoice, Timestamp};
use simulator::SimBoot;
use simulator::testbed::{HOUR, INTERVAL, failover_to};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::amounts::{filling, most, written_since};
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[check!(
    "after its source lost the record of changes a core compares, sends only differences, and says so",
    &[EX_R9],
    Setup::vmware,
    record_lost
)];

/// The power of a machine fails, and with it the record of its changes.
async fn record_lost(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&filling("web")).await?;
    let (from, arrived) = (testbed.world.clock().now(), testbed.recovery.written().0);
    testbed.advance(HOUR).await;
    testbed.wait_until_idle().await?;
    if sends_everything(testbed, from, arrived)? {
        rules.skip(EX_R9, INCREMENTAL_REPLICATION);
        return Ok(());
    }
    let (before, newest) = unsent_writes(testbed, &item).await?;
    let arrived = testbed.recovery.written().0;
    let lost_at = testbed.world.clock().now();
    testbed.primary.power_off(&"web".into()).await?;
    testbed.primary.start(&"web".into()).await?;
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    testbed.wait_until_idle().await?;
    let view = testbed.item(&item).await?;
    let arrived = testbed.recovery.written().0 - arrived;
    let after = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    let changed = written_since(&before, newest) + written_since(&after, Timestamp(0));
    let found = format!(
        "{arrived} bytes arrived, {changed} had changed; the item lists {:?}",
        view.resynchronisations
    );
    // A core may compare at other times, too.
    let told = view.resynchronisations.iter().any(|resync| resync.at >= lost_at);
    rules.check(EX_R9, arrived <= most(changed) && told, found);
    let request = failover_to(&item, PointChoice::Latest);
    let failed_over = testbed.completed(testbed.core.failover(&request).await).await;
    succeeds(rules, (EX_R9, "a failover afterwards"), failed_over)?;
    let recovered = testbed.check_recovery(&view, &PointChoice::Latest).await;
    recovered.map_err(|end| against(rules, EX_R9, end))?;
    Ok(())
}

/// What a core that always sends whole disks lacks: it asks for no changes, so it cannot miss them.
const INCREMENTAL_REPLICATION: &str = "incremental-replication";

/// Whether a core has transferred much more than what has changed from this moment on, although it
/// could learn that. `arrived` is what had arrived before.
fn sends_everything(testbed: &Testbed, from: Timestamp, arrived: u64) -> Result<bool, EarlyEnd> {
    let boot = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
    Ok(testbed.recovery.written().0 - arrived > 2 * most(written_since(&boot, from)))
}

/// Waits until the machine has written something that no recovery point has yet. Returns its boot
/// and the time of the newest point.
async fn unsent_writes(testbed: &Testbed, item: &ItemId) -> Result<(Arc<SimBoot>, Timestamp), EarlyEnd> {
    for _ in 0..100 {
        let newest = testbed.newest_point(item).await?.time;
        let boot = testbed.primary.last_boot(&"web".into()).ok_or_else(|| missing("a boot of web"))?;
        if written_since(&boot, newest) > 0 {
            return Ok((boot, newest));
        }
        testbed.advance(Millis(INTERVAL.0 / 12)).await;
    }
    Err(EarlyEnd::inconclusive("the guest writes nothing between two transfers"))
}
