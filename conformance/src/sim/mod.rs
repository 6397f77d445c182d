//! The simulated tier: the core under test between sites in memory, under a virtual clock.
//!
//! - `seeded_cycles`: failover, reprotection, failback and reprotection, once for each of many
//!   seeds
//! - `checks`: single rules, one file for each topic; `check` defines what a check is, `runner`
//!   runs them
//! - `early_end`: which rule a check that ends early says something about
//! - `side_effects`: refusals, and what a refused request must not change
//! - `disks`: comparisons of disks; `amounts`: how much may be transferred
//! - `testbed`: the sites, and the one place where the core is opened

mod amounts;
mod check;
mod checks;
mod disks;
mod early_end;
mod runner;
mod seeded_cycles;
mod side_effects;
mod testbed;

use anyhow::{Context as _, Result};

use crate::context::RunContext;
use crate::core_change::AskedChange;
use crate::evidence::Evidence;
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::rules::RuleLog;
use crate::scenario::Scenario;

pub use check::Check;
pub use runner::{CheckedRules, Judged, judge, run_checks_for};

/// Every check of single rules.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    checks::all()
}

/// What the core under test calls itself.
fn core_name(context: &RunContext) -> Result<String> {
    let change = AskedChange::for_checks(context)?;
    simulator::run(0, async |world| {
        let testbed = testbed::open(world, testbed::Setup::vmware(), &change)?;
        let name = testbed.core.capabilities().await?.name;
        testbed.close().await?;
        Ok(name)
    })
}

/// Runs a scenario of the simulated tier, writes its outcome into the evidence, and returns it.
///
/// # Errors
/// The environment is malformed, or the evidence cannot be written.
pub fn run(scenario: &Scenario) -> Result<ScenarioOutcome> {
    let context = RunContext::from_environment()?;
    let evidence = Evidence::begin(&context, &scenario.name)?;
    let mut outcome = ScenarioOutcome::begun(&scenario.name, &scenario.title, context.mutant.clone());
    // Every cycle and every check opens a core of its own; all are of this kind.
    // A core that does not say its name fails the checks.
    outcome.core = core_name(&context).unwrap_or_else(|error| format!("a core without a name ({error:#})"));
    let mut rules = RuleLog::simulated();
    let verdict = match scenario.script.as_str() {
        "sim-cycle" => seeded_cycles::run(&context, scenario, &evidence, &mut outcome, &mut rules)?,
        "sim-rules" => runner::run_all(&context, &evidence, &mut outcome, &mut rules),
        _ => anyhow::bail!("scenario {} is not of the simulated tier", scenario.name),
    };
    outcome.rules = rules.into_outcomes();
    outcome.verdict = outcome.rules.iter().map(|rule| rule.score.verdict()).fold(verdict, Verdict::and);
    outcome.ms = evidence.elapsed_ms();
    evidence.end(&outcome).context("write the result")?;
    Ok(outcome)
}
