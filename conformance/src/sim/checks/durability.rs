//! What a recovery point survives: the loss of the site that holds it, which loses every write that
//! was not flushed (FX-08).

use contract::{Millis, PointChoice};
use simulator::testbed::BOOT;

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, against, check};
use crate::sim::checks::variety::{check_exact, with_any_writes};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!("the first point survives the loss of its site", &[FX_08], Setup::vmware, loses_recovery_site(1)),
    check!(
        "a point of changes survives the loss of its site",
        &[FX_08],
        Setup::vmware,
        loses_recovery_site(4)
    ),
];

/// Both sites lose their power once the core has shown so many points, and only the recovery site
/// comes back: nothing can be transferred again.
async fn loses_recovery_site(testbed: &Testbed, rules: &mut RuleLog, points: u64) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&with_any_writes()).await?;
    testbed.wait_for_points(&item, points).await?;
    let newest = testbed.newest_point(&item).await?;
    testbed.primary.lose();
    testbed.recovery.lose();
    testbed.advance(Millis(1_000)).await;
    testbed.recovery.restore();
    if let Err(end) = testbed.fail_over(&item, PointChoice::Custom(newest.id)).await {
        let end = against(rules, FX_08, end);
        if !end.is_refusal() {
            return Err(end);
        }
        rules.check(FX_08, false, format!("a failover to a point that was shown: {}", end.error));
        return Ok(());
    }
    testbed.advance(BOOT).await;
    check_exact(rules, FX_08, &testbed.boots("web")?)
}
