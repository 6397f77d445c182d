//! Out and not back: a machine fails over from a site to which nothing can be replicated.

use contract::{
    Direction, ErrorCode, Phase, Platform, PlatformErrorKind, PowerState, ReprotectRequest, Side,
};

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::failover;
use crate::real::edge::works_beyond;
use crate::real::machine::Running;
use crate::real::setup;
use crate::real::teardown as finish;
use crate::rules::ids::*;

const STEP: &str = "no way back";

pub(crate) async fn go(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let source = setup::boot_source(world).await?;
    setup::protect(world, &source).await?;
    let cloud = failover::fail_over(world, &source).await?;
    no_way_back(world, &cloud).await?;
    finish::rest(world, &cloud).await?;
    let machines = world.recovery.machines().await?;
    let whole = machines.len() == 1 && machines[0].id == world.machine;
    let found = format!("{} machines on the recovery side after protection ended", machines.len());
    world.check(FO_04, whole, found);
    Ok(())
}

/// PH-01, PH-02: nothing replicates to a physical site, and without VMware infrastructure there is nowhere else to
/// go; the machine in the cloud goes on as if nobody had asked.
async fn no_way_back(world: &ScenarioContext, cloud: &Running) -> Result<(), ScenarioError> {
    world.primary.restore();
    let view = world.primary.open_snapshot(&world.machine, None).await.err().map(|error| error.kind);
    if view != Some(PlatformErrorKind::WrongPowerState) {
        // The source is off and has no hypervisor: whoever can read it now reads past the agent.
        return Err(ScenarioError::Inconclusive(format!(
            "a view of a physical machine that is off: {view:?}"
        )));
    }
    let step = world.evidence.step(STEP, "reprotect to the physical site");
    let acked = cloud.last_record();
    let nowhere = ReprotectRequest::new(&world.item, Direction::RecoveryToPrimary);
    let code = world.core.reprotect(&nowhere).await.err().map(|error| error.code);
    let found = format!("reprotect without VMware: {code:?}");
    world.check(PH_02, code == Some(ErrorCode::FailbackSiteNotGiven), found);
    let physical = ReprotectRequest { failback_site: Some(world.primary.site().await?.id), ..nowhere };
    let code = world.core.reprotect(&physical).await.err().map(|error| error.code);
    let found = format!("reprotect to a physical site: {code:?}");
    world.check(PH_01, code == Some(ErrorCode::FailbackSiteUnfit), found);
    step.done();
    let item = world.core.item(&world.item).await?.protection;
    let serves = works_beyond(cloud, acked).await;
    let source = world.primary.machine(&world.machine).await?.power;
    let same = item.phase == Phase::Committed && item.active == Side::Recovery && source == PowerState::Off;
    let found = format!("afterwards {item:?}, the source {source:?}, the cloud machine serves: {serves}");
    world.check(PH_02, same && serves, found);
    world.trace("no way back: reprotect refused, the cloud machine serves on");
    world.trace_state().await
}
