//! A machine whose Windows volume is hibernated: what Windows holds in memory would be lost, so a
//! failover is refused, and nothing is changed (FX-71).

use contract::{Direction, ErrorCode, FailoverRequest, Operation};
use windows_volume::VolumeState;

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::every_point::judge_every_point;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recovery_point::wait_for_fresh_points;
use crate::real::edge::work::{AtWork, check_work};
use crate::real::refusals::Forbidden;
use crate::real::script::{Script, Start};
use crate::real::setup::{self, InstallProfile};
use crate::real::teardown;
use crate::rules::ids::FX_71;

/// Name in progress, trace and evidence.
const LABEL: EdgeName = EdgeName::new("windows-refused", 6);

pub(crate) const SCRIPT: Script = Script {
    edges: Vec::new,
    repeatable: false,
    needs: &[Operation::UnplannedFailover],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    if !context.has_registry_edits(FX_71) {
        return Ok(());
    }
    let mut profile = InstallProfile::native(&context.primary).await?.with_windows();
    profile.windows.iter_mut().for_each(|windows| windows.state = VolumeState::Hibernated);
    let source = setup::boot_source_as(context, &profile).await?;
    setup::protect(context, &source).await?;
    let at_work = AtWork::watch(&source);
    let forbidden = Forbidden {
        rule: FX_71,
        what: "failover with a hibernated Windows volume",
        needs: None,
        codes: &[ErrorCode::HydrationFailed],
    };
    let request = FailoverRequest::unplanned(&context.item, Direction::PrimaryToRecovery);
    context.forbids(forbidden, context.core.failover(&request)).await?;
    let work = at_work.so_far().await;
    check_work(context, FX_71, &work, true, "the source, after the failover was refused");
    // Whatever was written to the volume of a point would be in those points, or in later ones.
    wait_for_fresh_points(context, FX_71, LABEL.as_str(), &source).await?;
    let edge = Edge::begin(context, LABEL, &source);
    judge_every_point(edge, &context.core.item(&context.item).await?).await?;
    teardown::end(context, &source).await
}
