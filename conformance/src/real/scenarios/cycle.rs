//! Failover → reprotect → failback → reprotect.

use contract::Operation;

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::cycles::Cycles;
use crate::real::edge::failback::{FAILBACK, Failback};
use crate::real::edge::failover::{FAILOVER, Failover};
use crate::real::edge::reprotect::{REPROTECT, REPROTECT_FORWARD, Reprotect};
use crate::real::edge::restarted_original::RestartedOriginal;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;

pub(crate) const SCRIPT: Script = Script {
    edges: || vec![FAILOVER, REPROTECT, FAILBACK, REPROTECT_FORWARD],
    repeatable: true,
    needs: &[Operation::UnplannedFailover, Operation::Commit],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

/// Runs the cycle, as often as asked for, while the guest writes.
///
/// Each step asks the core for one operation, judges the result and fails unless every disk is an
/// exact prefix of the guest's writes, the ledger joins the disks, and the witness inside agrees.
async fn run(scenario: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut context = scenario.clone();
    let mut on_premises = setup::boot_source(&context).await?;
    setup::protect(&context, &on_premises).await?;
    let mut cycles = Cycles::begin(scenario)?;
    for _ in 0..context.run.cycles {
        // The source site is lost. Checked: the cloud machine boots from a recovery point, which
        // hydration alone changed, and serves; what was lost is measured as RPO.
        let cloud = Failover { source: &on_premises }.run(&context).await?;

        // A machine may fail back to another site than the one that was lost.
        context = context.with_failback_site_as_primary();

        // Somebody may power the original on again, which reprotection then has to switch off.
        let restarted = match context.scenario.original_restarts {
            true => Some(RestartedOriginal::power_on(&context, &on_premises).await?),
            false => None,
        };

        // Checked: the cloud machine serves on, only differences travel, and the newest recovery
        // point on premises is exact.
        let back = Reprotect {
            edge: REPROTECT,
            serving: &cloud,
            standby: &on_premises,
            restarted: restarted.as_ref(),
        };
        back.run(&context).await?;
        if let Some(original) = &restarted {
            original.check_still_off(&context).await?;
        }

        // Checked: the cloud machine is off before the one on premises boots, from its own disks,
        // and nothing is lost.
        on_premises = Failback { cloud: &cloud, original: &on_premises }.run(&context).await?;

        // Checked as after the first reprotection, in the other direction.
        let forward =
            Reprotect { edge: REPROTECT_FORWARD, serving: &on_premises, standby: &cloud, restarted: None };
        forward.run(&context).await?;
        cycles.ended(&[&context]).await?;
    }
    // Checked: nothing of the machine is left in the cloud, and every disk image is intact.
    teardown::end(&context, &on_premises).await
}
