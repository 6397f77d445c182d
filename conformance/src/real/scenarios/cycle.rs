//! Failover → reprotect → failback → reprotect.

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::{failback, failover, reprotect};
use crate::real::{setup, teardown};

/// The whole cycle, as often as asked for.
pub(crate) async fn cycle(world: &ScenarioContext) -> Result<(), ScenarioError> {
    let mut on_premises = setup::boot_source(world).await?;
    setup::protect(world, &on_premises).await?;
    let (mut from, home) = (world, world.at_home());
    for _ in 0..world.context.cycles {
        let cloud = failover::fail_over(from, &on_premises).await?;
        reprotect::reprotect(&home, "reprotect", &cloud, &on_premises).await?;
        on_premises = failback::fail_back(&home, &cloud, &on_premises).await?;
        reprotect::reprotect(&home, "reprotect-forward", &on_premises, &cloud).await?;
        from = &home;
    }
    teardown::end(&home, &on_premises).await
}
