//! The simulated tier: in memory, under a virtual clock.
//!
//! - `cycles`: the whole cycle, once for each of many seeds
//! - `check`, `lab`: one rule at a time, each check in a world of its own
//! - `seen`: what can be seen from outside, and what a refusal must not change
//! - all others: those checks, by what they are about

mod check;
mod checks;
mod plan_support;
mod runner;
mod seeded_cycles;
mod side_effects;
mod testbed;

use anyhow::{Context as _, Result};
use contract::CoreError;

use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::rules::RuleLog;
use crate::scenario::Scenario;

pub use check::Check;
pub use runner::run_checks_for;

/// Every check of single rules.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    checks::all()
}

/// Runs a scenario of the simulated tier and returns its outcome, which is also in the evidence.
///
/// # Errors
/// Not even evidence could be written.
pub fn run(scenario: &Scenario) -> Result<ScenarioOutcome> {
    let context = RunContext::from_environment()?;
    let evidence = Evidence::begin(&context, &scenario.name)?;
    let mut outcome = ScenarioOutcome::begun(&scenario.name, &scenario.title, context.mutant.clone());
    // Every world has a core of its own; they are all this one.
    outcome.core = format!("built-in {}, simulated platforms", env!("CARGO_PKG_VERSION"));
    let mut rules = RuleLog::simulated();
    let verdict = match scenario.script.as_str() {
        "sim-cycle" => seeded_cycles::run(&context, &evidence, &mut outcome, &mut rules)?,
        "sim-rules" => runner::run_all(&context, &evidence, &mut outcome, &mut rules),
        _ => anyhow::bail!("scenario {} is not of the simulated tier", scenario.name),
    };
    outcome.rules = rules.into_outcomes();
    outcome.verdict = outcome.rules.iter().map(|rule| rule.score.verdict()).fold(verdict, Verdict::and);
    outcome.ms = evidence.elapsed_ms();
    evidence.end(&outcome).context("write the result")?;
    Ok(outcome)
}

/// A core's refusal or failure in words.
fn said(error: CoreError) -> String {
    format!("the core: {error}")
}
