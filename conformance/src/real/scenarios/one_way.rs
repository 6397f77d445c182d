//! Failover without a way back: the machine comes from a physical site, to which nothing can be
//! replicated, or the scenario is for cores that replicate in one direction only.

use contract::{
    Direction, ErrorCode, Operation, Phase, Platform, PlatformErrorKind, PlatformKind, PowerState,
    ReprotectRequest, Side,
};

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::failover::{FAILOVER, Failover};
use crate::real::edge::work::{AtWork, check_work};
use crate::real::machine::Running;
use crate::real::refusals::Forbidden;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::real::teardown;
use crate::rules::ids::*;

pub(crate) const SCRIPT: Script = Script {
    edges: || vec![FAILOVER],
    repeatable: false,
    needs: &[Operation::UnplannedFailover, Operation::Commit],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let source = setup::boot_source(context).await?;
    setup::protect(context, &source).await?;
    let cloud = Failover { source: &source }.run(context).await?;
    context.primary.restore();
    if context.primary.profile().kind == PlatformKind::Physical {
        check_no_way_back(context, &cloud).await?;
    }
    teardown::end_on_recovery_site(context, &cloud).await?;
    let machines = context.recovery.machines().await?;
    let only_this = machines.len() == 1 && machines[0].id == context.machine;
    let found = format!("{} machines on the recovery side after protection ended", machines.len());
    context.check(FO_04, only_this, found);
    Ok(())
}

/// PH-01, PH-02: nothing replicates to a physical site, and without VMware infrastructure there is
/// no other site to fail back to. The refusals do not disturb the machine in the cloud.
async fn check_no_way_back(context: &ScenarioContext, cloud: &Running) -> Result<(), ScenarioError> {
    let snapshot = context.primary.open_snapshot(&context.machine, None).await;
    let refused = snapshot.err().map(|error| error.kind);
    if refused != Some(PlatformErrorKind::WrongPowerState) {
        // The source is off and has no hypervisor, so only its agent could have read its disks.
        return Err(ScenarioError::Inconclusive(format!(
            "a snapshot of a physical machine that is off: {refused:?}"
        )));
    }
    let step = context.evidence.step("no way back", "reprotect to the physical site");
    let at_work = AtWork::watch(cloud);
    let to_no_site = ReprotectRequest::new(&context.item, Direction::RecoveryToPrimary);
    let forbidden = Forbidden {
        rule: PH_02,
        what: "reprotect without VMware",
        needs: Some(Operation::Reprotect),
        codes: &[ErrorCode::FailbackSiteNotGiven],
    };
    context.forbids(forbidden, context.core.reprotect(&to_no_site)).await?;
    let physical_site = Some(context.primary.site().await?.id);
    let to_physical_site = ReprotectRequest { failback_site: physical_site, ..to_no_site };
    let forbidden = Forbidden {
        rule: PH_01,
        what: "reprotect to a physical site",
        needs: Some(Operation::Reprotect),
        codes: &[ErrorCode::FailbackSiteUnfit],
    };
    context.forbids(forbidden, context.core.reprotect(&to_physical_site)).await?;
    step.done();
    let item = context.core.item(&context.item).await?.protection;
    let work = at_work.so_far().await;
    let source = context.primary.machine(&context.machine).await?.power;
    let unchanged =
        item.phase == Phase::Committed && item.active == Side::Recovery && source == PowerState::Off;
    let found = format!("afterwards {item:?}, the source {source:?}, and the cloud machine");
    check_work(context, PH_02, &work, unchanged, &found);
    context.trace("no way back: reprotect refused, the cloud machine serves on");
    context.trace_state().await
}
