//! The real tier: scenarios on guests, with a verdict on every edge.
//!
//! Read `scenarios/cycle.rs` first, then `edge/lifecycle.rs`. From bottom to top:
//!
//! - `machine`, `workload`, `scenario_run`: plain types and constants
//! - `stand_in_failures`, `asked_core`: the core, and the failures of stand-ins for which it is not
//!   to blame
//! - `environment`, `findings`, `context`: what a scenario works with; `moments`: what its report
//!   draws
//! - `waits`, `jobs`, `refusals`: what the core has to do in time, following a job, and requests
//!   that the core must not carry out
//! - `edge`: one file for each kind of edge, and the parts that they share
//! - `restarts`: what a core shows after it was killed, if it was
//! - `setup`, `teardown`: what comes before the first edge and after the last one
//! - `script`, `scenarios`: the code of each scenario
//! - this file: which scenario runs which code

mod asked_core;
mod context;
mod cycles;
mod edge;
mod environment;
mod findings;
mod job_limit;
mod jobs;
mod machine;
mod moments;
mod refusals;
mod restarts;
mod scenario_run;
mod scenarios;
mod script;
mod setup;
mod stand_in_failures;
mod teardown;
mod waits;
mod workload;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use standins::OwnFailure;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::ScenarioOutcome;
use crate::scenario::{self, Scenario, Tier};

use context::ScenarioContext;
pub use scenario_run::ScenarioRun;
use scenarios::SCRIPTS;
use script::{RunFuture, Script, Start};

/// Every scenario of the real tier: its row of `scenarios.toml`, completed with what its code
/// states.
///
/// # Errors
/// The table is malformed.
pub fn scenarios() -> anyhow::Result<Vec<Scenario>> {
    let rows = scenario::all()?.into_iter().filter(|row| row.tier == Tier::Real);
    rows.map(|row| {
        let script = script_of(&row).with_context(|| format!("there is no script {}", row.script))?;
        let edges = (script.edges)().into_iter().map(|edge| edge.to_string()).collect();
        Ok(Scenario { edges, repeatable: script.repeatable, ..row })
    })
    .collect()
}

fn script_of(scenario: &Scenario) -> Option<&'static Script> {
    SCRIPTS.iter().find(|(name, _)| *name == scenario.script).map(|(_, script)| *script)
}

/// Opens everything that a scenario needs. `scenario` comes from [`scenarios()`].
///
/// # Errors
/// Something is missing on this host, the scenario's row is wrong, or the core lacks an operation.
pub async fn open(
    run: &RunContext,
    scenario: &Scenario,
    evidence: &Arc<Evidence>,
) -> Result<Arc<dyn ScenarioRun>, ScenarioError> {
    let script = script_of(scenario)
        .ok_or_else(|| ScenarioError::Inconclusive(format!("there is no script {}", scenario.script)))?;
    match script.start {
        Start::BetweenSites(run_script) => {
            let context = ScenarioContext::open(run, scenario, script.needs, evidence).await?;
            Ok(Arc::new(RunBetweenSites { context, run_script }))
        }
        Start::OnItsOwn(open) => open(run, scenario, evidence).await,
    }
}

/// A script that runs between the stand-ins of its scenario's row.
struct RunBetweenSites {
    context: ScenarioContext,
    run_script: for<'a> fn(&'a ScenarioContext) -> RunFuture<'a>,
}

#[async_trait]
impl ScenarioRun for RunBetweenSites {
    async fn run(&self) -> Result<(), ScenarioError> {
        let ended = (self.run_script)(&self.context).await;
        restarts::judge(&self.context);
        self.context.ended(ended)
    }

    async fn record(&self, outcome: &mut ScenarioOutcome) {
        self.context.record(outcome);
    }

    async fn unexplained_ends(&self) -> Vec<OwnFailure> {
        self.context.unexplained_ends()
    }

    async fn close(&self, failed: bool) -> Result<(), ScenarioError> {
        self.context.close(failed).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use standins::profile;

    use super::*;
    use crate::rules::coverage::coverage;
    use crate::rules::ids::FO_10;

    /// The edges that a scenario's snapshot records, with their bounds: the edges that its code
    /// judged in a real run.
    fn edges_of_snapshot(scenario: &str) -> BTreeSet<(String, String)> {
        let file = format!("tests/snapshots/real__{scenario}.snap");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let snapshot =
            std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{scenario} has no snapshot"));
        let bounds = snapshot.lines().filter_map(|line| {
            let (edge, bound) = line.strip_suffix(" boots")?.split_once(": recovery time is bounded by ")?;
            // In front of the edge there may be the name of the machine.
            let edge = edge.rsplit(": ").next()?;
            Some((edge.to_owned(), bound.to_owned()))
        });
        bounds.collect()
    }

    #[test]
    fn scripts_state_the_edges_and_bounds_that_the_snapshots_record() {
        for scenario in scenarios().unwrap() {
            let script = script_of(&scenario).unwrap();
            let edges = (script.edges)().into_iter();
            let stated: BTreeSet<_> =
                edges.map(|edge| (edge.to_string(), edge.bound_in_boots().to_string())).collect();
            assert_eq!(stated, edges_of_snapshot(&scenario.name), "{}", scenario.name);
        }
    }

    #[test]
    fn scenarios_promise_rules_that_the_real_tier_judges_each_once() {
        let coverage = coverage(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))).unwrap();
        for scenario in scenarios().unwrap() {
            let promises = &scenario.promises;
            let judges_disks = !scenario.edges.is_empty();
            assert_eq!(judges_disks, promises.contains(&FO_10), "{} and {FO_10}", scenario.name);
            let once: BTreeSet<_> = promises.iter().collect();
            assert_eq!(once.len(), promises.len(), "{} promises a rule twice", scenario.name);
            let unkept = promises.iter().find(|rule| coverage[rule].real.is_empty());
            assert_eq!(unkept, None, "{} promises a rule that no script judges", scenario.name);
        }
    }

    #[test]
    fn edges_of_a_scenario_have_different_names() {
        for scenario in scenarios().unwrap() {
            let names: BTreeSet<_> = scenario.edges.iter().collect();
            assert_eq!(names.len(), scenario.edges.len(), "{}", scenario.name);
        }
    }

    #[test]
    fn rows_name_stand_ins_that_exist() {
        for scenario in scenarios().unwrap() {
            let Scenario { source, target, failback_to, more_sites, .. } = &scenario;
            let named = [source, target].into_iter().chain(failback_to).chain(more_sites);
            let on_its_own = matches!(script_of(&scenario).unwrap().start, Start::OnItsOwn(_));
            for name in named {
                let known = profile::by_name(name).is_some();
                assert!(known || (on_its_own && name.is_empty()), "{}: {name:?}", scenario.name);
            }
        }
    }
}
