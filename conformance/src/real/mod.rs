//! The real tier: scenarios on guests, judged at every edge.
//!
//! Read `scenarios/cycle.rs` first. Each edge is one file of `edge`.

mod context;
mod edge;
mod environment;
mod machine;
mod scenarios;
mod setup;
mod teardown;

use std::sync::Arc;

use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::scenario::{Scenario, Script};

use crate::blame::ScenarioError;
use context::ScenarioContext;
pub use environment::ScenarioRun;
use scenarios::{
    change_tracking_limits, cycle, faults, hydration, hyperv, identity, iops, networks, one_way,
    replication_group, test_failover,
};

/// Makes a scenario ready.
///
/// # Errors
/// Something is missing on this host, or the scenario's words are unknown.
pub async fn open(
    context: &RunContext,
    scenario: &Scenario,
    evidence: &Arc<Evidence>,
) -> Result<Arc<dyn ScenarioRun>, ScenarioError> {
    Ok(match scenario.script {
        Script::Identity => Arc::new(identity::Walk::open(context, evidence).await?),
        Script::Speed => Arc::new(iops::SpeedTest::open(context, evidence).await?),
        _ => Arc::new(ScenarioContext::open(context, scenario, evidence).await?),
    })
}

/// Runs a scenario's script.
///
/// # Errors
/// The first thing that kept it from going on.
async fn run(world: &ScenarioContext) -> Result<(), ScenarioError> {
    match world.script {
        Script::Cycle => cycle::cycle(world).await,
        Script::Group => replication_group::cycle(world).await,
        Script::OutOnly => one_way::go(world).await,
        Script::Faults => faults::go_through(world).await,
        Script::TestFailover => test_failover::hold(world).await,
        Script::HyperV => hyperv::cycle(world).await,
        Script::TrackingLimits => change_tracking_limits::walk(world).await,
        Script::Hydration => hydration::walk(world).await,
        Script::Networks => networks::go(world).await,
        Script::Identity | Script::Speed => {
            Err(ScenarioError::Inconclusive("this scenario has no world of two sites".to_owned()))
        }
        Script::SimCycle | Script::SimRules => {
            Err(ScenarioError::Inconclusive("this scenario is of the simulated tier".to_owned()))
        }
    }
}
