//! Restarts of a recovered machine, before its commit and after it (FX-33).

use std::sync::Arc;

use contract::{Millis, Platform};
use harness::Error;

use crate::blame::{KeptByCore, ScenarioError};
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::recover::{start_load, wait_for_hello, wait_for_work};
use crate::real::machine::Running;
use crate::rules::ids::FX_33;

/// How long the guest may take to shut down.
const DOWN_WITHIN: Millis = Millis(60_000);

/// Shuts a recovered machine down once it has written something, starts it again, and gives it its
/// load. FX-33: it comes up with every record that was acknowledged. Without restarts in the
/// scenario, the machine runs on.
///
/// # Errors
/// It does not shut down, or does not come up again.
pub(crate) async fn restart(
    context: &ScenarioContext,
    when: &str,
    running: Running,
) -> Result<Running, ScenarioError> {
    if !context.scenario.restarts {
        return Ok(running);
    }
    let label = format!("restart {when}");
    wait_for_work(context, &label, &running).await?;
    let (site, machine) = (Arc::clone(&running.site), &context.machine);
    let step = context.evidence.step(&label, "shut down and boot again");
    site.shut_down(machine, DOWN_WITHIN).await.kept_by_core("the recovered machine")?;
    let written = running.last_record();
    site.start(machine).await.kept_by_core("the recovered machine")?;
    let boot = site.boot_after(machine, running.boot.number).await;
    let blame = |error: Error| {
        let error = ScenarioError::of_recovered_guest(error, &format!("{label}: it did not come up again"));
        if let ScenarioError::CoreViolation(why) = &error {
            context.check(FX_33, false, why.clone());
        }
        error
    };
    wait_for_hello(context, &boot, BOOT_WITHIN).await.map_err(blame)?;
    let findings = boot.guest.race("its findings", BOOT_WITHIN, boot.guest.witness().check()).await;
    let ledger = findings.map_err(blame)?.ledger;
    step.done();
    let whole = ledger.contiguous == ledger.highest && ledger.torn.is_empty();
    let found = format!(
        "{label}: up, with {} records, the last one {}; {written} were acknowledged",
        ledger.contiguous, ledger.highest
    );
    context.check(FX_33, whole && ledger.contiguous >= written, found);
    context.trace(format!("{label}: up, with everything that was written: {whole}"));
    start_load(context, site, boot, ledger.contiguous).await
}
