//! The edge `failback`: the cloud machine is shut down, its last changes travel, and the machine on
//! premises boots without loss. That machine is the original one, or one that the reprotection
//! created on another site.

use std::sync::Arc;

use contract::{Direction, DiskView, FailoverRequest, JobKind, JobView, Phase, Platform, PowerState, Side};
use standins::Boot;
use tracing::Instrument as _;

use crate::blame::{KeptByCore, ScenarioError};
use crate::real::context::{ScenarioContext, json_name};
use crate::real::edge::hydration_diff::{check_boot_partition, check_registry, hydrated, need_of};
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::name::EdgeName;
use crate::real::edge::planned_switchover::PlannedSwitchover;
use crate::real::edge::recover::{self, Recovered, RecoveryTarget};
use crate::real::machine::Running;
use crate::rules::ids::*;

/// The edge's name.
pub(crate) const FAILBACK: EdgeName = EdgeName::new("failback", 8);

/// Fails a machine back and commits. The context's primary site is the one to which it fails back.
pub(crate) struct Failback<'a> {
    /// The machine in the cloud.
    pub(crate) cloud: &'a Running,
    /// The machine as it ran before the failover.
    pub(crate) original: &'a Running,
}

impl Failback<'_> {
    /// Returns the machine on the primary site, committed and at work.
    ///
    /// # Errors
    /// The edge did not pass.
    pub(crate) async fn run(self, context: &ScenarioContext) -> Result<Running, ScenarioError> {
        let to_another_site = !Arc::ptr_eq(&self.original.site, &context.primary);
        let edge = Edge::begin(context, FAILBACK, self.cloud);
        self.run_edge(edge, to_another_site).instrument(edge.span()).await
    }

    async fn run_edge(self, edge: Edge<'_>, to_another_site: bool) -> Result<Running, ScenarioError> {
        let context = edge.context();
        edge.wait_for_work().await?;
        let target = RecoveryTarget::next_boot_of(&context.machine, &context.primary).await;
        let own_disks = context.primary.machine(&context.machine).await;
        let own_disks = own_disks.kept_by_core("the machine to fail back to")?.disks;
        let request = FailoverRequest::unplanned(&context.item, Direction::RecoveryToPrimary);
        let switchover = PlannedSwitchover { edge, target, shutdown_rule: FB_06 };
        let recovered = switchover.run(&request).await?;
        check_state(context, &recovered, &own_disks).await?;
        // No guest writes to a Windows volume, so the one in the cloud is what it booted with.
        let cloud = &self.cloud.boot;
        let (before, after) = (&cloud.disks[0].base, &recovered.boot.disks[0].base);
        let need = need_of(context, cloud.profile.kind, before, &recovered.boot.profile)?;
        check_registry(context, &need, before, after)?;
        if to_another_site {
            check_hydration(context, &recovered, &self.cloud.boot)?;
        }
        let running = recover::put_to_work(context, &recovered).await?;
        commit(context).await?;
        Ok(running)
    }
}

/// FB-09, FB-12, FB-14, LC-07: the machine runs on its own disks, the cloud machine is kept until
/// commit, and the operation was an unplanned failover from recovery to primary.
async fn check_state(
    context: &ScenarioContext,
    recovered: &Recovered,
    own_disks: &[DiskView],
) -> Result<(), ScenarioError> {
    let protection = context.core.item(&context.item).await?.protection;
    let pending = protection.phase == Phase::CommitPending && protection.active == Side::Primary;
    context.check(LC_07, pending, format!("after failback: {protection:?}"));
    let JobView { kind, direction, .. } = recovered.job;
    let unplanned_back = kind == JobKind::UnplannedFailover && direction == Direction::RecoveryToPrimary;
    context.check(FB_14, unplanned_back, format!("{} {}", json_name(&kind), json_name(&direction)));
    let machine =
        context.primary.machine(&context.machine).await.kept_by_core("the machine that failed back")?;
    // When snapshots below them are merged is up to the core.
    let on_own_disks = !machine.disks.is_empty() && machine.disks == own_disks;
    let boot = recovered.boot.number;
    context.check(FB_09, on_own_disks, format!("boot {boot} on the machine's own disks: {on_own_disks}"));
    let cloud = context.recovery.machine(&context.machine).await.map(|machine| machine.power);
    let kept = matches!(cloud, Ok(PowerState::Off));
    context.check(FB_12, kept, format!("cloud machine before commit: {cloud:?}"));
    context.trace_state().await
}

/// HY-08: a machine that fails back to another platform than the one it came from is hydrated, and
/// only its boot loaders' configurations are edited.
fn check_hydration(
    context: &ScenarioContext,
    recovered: &Recovered,
    cloud: &Boot,
) -> Result<(), ScenarioError> {
    let hydrated = hydrated(&recovered.job);
    context.check(HY_08, hydrated, format!("to another platform: hydrated {hydrated}"));
    // No guest writes to its boot partition, so the one in the cloud is still what it booted with.
    let before = &cloud.disks[0].base;
    let need = need_of(context, cloud.profile.kind, before, &recovered.boot.profile)?;
    check_boot_partition(context, &need, before, &recovered.boot.disks[0].base)?;
    Ok(())
}

/// FB-11, LC-06: commits a failback, which removes the cloud machine and leaves the machine
/// unprotected.
pub(crate) async fn commit(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let job = context.core.commit(&context.item).await?;
    context.follow(FAILBACK.as_str(), &job).await?;
    let left = context.recovery.machines().await?.len();
    context.check(FB_11, left == 0, format!("{left} cloud machines after commit"));
    let item = context.core.item(&context.item).await?;
    let unprotected = item.protection.phase == Phase::Committed && item.points.is_empty();
    let found = format!("after failback and commit: {:?}", item.protection.phase);
    context.check(LC_06, unprotected, found);
    context.trace_state().await
}
