//! What the code of a scenario states about itself.

use std::pin::Pin;
use std::sync::Arc;

use contract::Operation;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::real::context::ScenarioContext;
use crate::real::edge::name::EdgeName;
use crate::real::scenario_run::ScenarioRun;
use crate::scenario::Scenario;

/// The code of a scenario. Every file of `real/scenarios` has one, called `SCRIPT`; rows of
/// `scenarios.toml` refer to it by the name of the file.
pub(crate) struct Script {
    /// The edges that one run judges.
    pub(crate) edges: fn() -> Vec<EdgeName>,
    /// Whether a run ends in the state in which it began, so that `--cycles N` can repeat it.
    pub(crate) repeatable: bool,
    /// Operations that the core must support. The scenario is skipped for a core that lacks one.
    pub(crate) needs: &'static [Operation],
    /// How it runs.
    pub(crate) start: Start,
}

/// How a script runs.
pub(crate) enum Start {
    /// Between the stand-ins of the scenario's row.
    BetweenSites(for<'a> fn(&'a ScenarioContext) -> RunFuture<'a>),
    /// On stand-ins that the script opens itself.
    OnItsOwn(for<'a> fn(&'a RunContext, &'a Scenario, &'a Arc<Evidence>) -> OpenFuture<'a>),
}

/// A script as it runs.
pub(crate) type RunFuture<'a> = Pin<Box<dyn Future<Output = Result<(), ScenarioError>> + Send + 'a>>;

/// A script that opens its stand-ins and becomes ready to run.
pub(crate) type OpenFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<dyn ScenarioRun>, ScenarioError>> + Send + 'a>>;
