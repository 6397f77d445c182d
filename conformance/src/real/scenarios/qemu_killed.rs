//! QEMU is killed between two recovery points, as when a host loses power. The machine boots again
//! from its own disks, but what the platform knew of changes is gone.
//!
//! EX-R9: replication has to come back by itself, with a comparison or a full copy, and the next
//! recovery point has to be exact. A core that only reports that it cannot go on is honest (MO-01)
//! and leaves the machine unprotected until somebody acts, which EX-R9 does not allow.

use contract::{Health, RecoveryPoint, Timestamp};
use standins::SiteFault;
use tracing::Instrument as _;

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::freshness::now;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::wait_for_work;
use crate::real::edge::recovery_point::{POINTS_WITHIN, point_later_than};
use crate::real::scenarios::faults::wait_for_restart;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::rules::ids::*;

/// Name in progress, trace and evidence.
const KILLED: EdgeName = EdgeName::new("qemu-killed", 6);

pub(crate) const SCRIPT: Script = Script {
    edges: Vec::new,
    repeatable: false,
    needs: &[],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let label = KILLED.as_str();
    let source = setup::boot_source(context).await?;
    setup::protect(context, &source).await?;
    wait_for_work(context, label, &source).await?;
    let step = context.evidence.step(label, "kill QEMU, and boot the machine again");
    context.inject(&context.primary, &SiteFault::PowerCut(context.machine.clone())).await?;
    context.heal(&context.primary).await?;
    let source = wait_for_restart(context, source).await?;
    step.done();
    context.trace(format!("{label}: the machine works again"));
    wait_for_work(context, label, &source).await?;
    let edge = Edge::begin(context, KILLED, &source);
    let step = context.evidence.step(label, "replication comes back");
    let began = now();
    let comes = async { Ok(point_later_than(context, began).await) };
    let came = source.boot.guest.race("the next recovery point", POINTS_WITHIN, comes);
    let point = came.instrument(edge.span()).await;
    step.done();
    match point {
        Ok((point, _)) => judge(edge, &point).instrument(edge.span()).await,
        Err(harness::Error::TimedOut { .. }) => Err(blame(context, began).await),
        Err(error) => Err(error.into()),
    }
}

/// EX-R9: the point is exact, and a comparison that the core had to make is listed.
async fn judge(edge: Edge<'_>, point: &RecoveryPoint) -> Result<(), ScenarioError> {
    let context = edge.context();
    let judged = edge.judge_point(&context.recovery, point).await?;
    let objection = judged.machine.objection();
    let found = objection.clone().unwrap_or_else(|| "exact".to_owned());
    context.check(EX_R9, objection.is_none(), format!("{} after QEMU was killed: {found}", point.id));
    let lost = context.primary.changes_unavailable(&context.machine).await.len();
    let listed = context.core.item(&context.item).await?.resynchronisations.len();
    let found = format!("{lost} snapshots without a list of changes, {listed} resynchronisations listed");
    context.check(EX_R9, lost == 0 || listed > 0, found);
    context.trace(format!("{KILLED}: replication came back by itself"));
    Ok(())
}

/// No point came since `began`: EX-R9 is broken, unless a stand-in itself failed, and MO-01 as well
/// if the core does not say so.
async fn blame(context: &ScenarioContext, began: Timestamp) -> ScenarioError {
    match context.core.item(&context.item).await {
        Ok(item) => {
            let reported = item.health == Health::Critical && !item.trouble.is_empty();
            let found = format!("{KILLED}: it reports {:?}: {}", item.health, item.trouble);
            context.check(MO_01, reported, found);
        }
        Err(error) => return error.into(),
    }
    let found = format!("no recovery point within {POINTS_WITHIN:?} after the machine worked again");
    context.overdue_since(began, EX_R9, KILLED.as_str(), &found)
}
