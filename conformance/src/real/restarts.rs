//! What a core showed after it was killed and started again (`--kills`).

use crate::core_under_test::FaultInjection as _;
use crate::real::context::ScenarioContext;
use crate::rules::ids::*;

/// Judges what the core showed after each restart. That its jobs and its replication went on is
/// judged by the scenario itself.
pub(crate) fn judge(context: &ScenarioContext) {
    let Some(kills) = context.fault.kills() else { return };
    let (strikes, repeated) = (kills.strikes(), kills.repeated());
    let objections = kills.objections();
    for (rule, found) in &objections {
        context.check(*rule, false, found.clone());
    }
    if objections.is_empty() && strikes > 0 {
        for rule in [JO_01, MO_06, RP_20] {
            context.check(
                rule,
                true,
                format!("after {strikes} kills of the core it showed what it had shown before"),
            );
        }
    }
    if strikes == 0 {
        context.unknown(LC_01, "the core was to be killed, and the scenario ended before");
    }
    if let Some(why) = kills.undecided() {
        context.unknown(JO_01, why);
    }
    context.trace(format!("the core was killed {strikes} times; {repeated} jobs failed because of it"));
}
