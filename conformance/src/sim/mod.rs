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
use crate::missing::Missing;
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::rules::RuleLog;
use crate::scenario::Scenario;
use crate::wire_core::{self, CoreChoice};

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
        let testbed = testbed::open(world, testbed::Setup::vmware(), &change, &Missing::default())?;
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
    let mut rules = RuleLog::simulated();
    let verdict = match identify(&context, &evidence) {
        Err(why) => {
            outcome.why = why;
            Verdict::Unknown
        }
        Ok(core) => {
            outcome.core = core;
            run_script(&context, scenario, &evidence, &mut outcome, &mut rules)?
        }
    };
    outcome.rules = rules.into_outcomes();
    outcome.verdict = outcome.rules.iter().map(|rule| rule.score.verdict()).fold(verdict, Verdict::and);
    if verdict == Verdict::Skipped && outcome.verdict == Verdict::Pass {
        // What was judged before a capability was missing is no pass of the whole scenario.
        outcome.verdict = Verdict::Skipped;
    }
    outcome.ms = evidence.elapsed_ms();
    evidence.end(&outcome).context("write the result")?;
    Ok(outcome)
}

fn run_script(
    context: &RunContext,
    scenario: &Scenario,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Result<Verdict> {
    Ok(match scenario.script.as_str() {
        "sim-cycle" => seeded_cycles::run(context, scenario, evidence, outcome, rules)?,
        "sim-rules" => runner::run_all(context, evidence, outcome, rules),
        _ => anyhow::bail!("scenario {} is not of the simulated tier", scenario.name),
    })
}

/// The name of the core under test and how it was opened, or why it cannot be opened.
fn identify(context: &RunContext, evidence: &Evidence) -> Result<String, String> {
    let address = match CoreChoice::selected().map_err(|error| error.to_string())? {
        CoreChoice::BuiltIn => {
            // A core that does not say its name fails the checks.
            return Ok(
                core_name(context).unwrap_or_else(|error| format!("a core without a name ({error:#})"))
            );
        }
        CoreChoice::Wire(address) => address,
    };
    let log = evidence.dir().join("core.log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
    let identity = runtime.block_on(wire_core::identify(&address, Some(log.as_std_path())));
    match identity {
        Ok(identity) => Ok(format!("{identity}, simulated platforms")),
        Err(error) => Err(format!("the core `{address}` cannot be opened: {error}")),
    }
}
