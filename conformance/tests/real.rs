//! The real tier: each scenario is one test, named like it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use conformance::outcome::{ScenarioOutcome, Verdict};
use conformance::runner;
use conformance::scenario::{self, Scenario, Tier};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let scenarios = scenario::all().unwrap_or_else(|error| panic!("scenarios.toml: {error}"));
    let real = scenarios.into_iter().filter(|scenario| scenario.tier == Tier::Real);
    let trials = real.map(|scenario| Trial::test(scenario.name.clone(), move || run(&scenario))).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(scenario: &Scenario) -> Result<(), Failed> {
    let outcome = runner::run(scenario, as_before).map_err(|error| Failed::from(format!("{error:#}")))?;
    match outcome.verdict {
        Verdict::Pass => Ok(()),
        verdict => Err(Failed::from(format!("{verdict:?}: {}", outcome.why))),
    }
}

/// Holds the order of stages, states, job steps, oracle classes and time bounds against the snapshot. None of
/// them holds a time or a number that differs from run to run, so nothing has to be redacted.
fn as_before(outcome: &ScenarioOutcome) -> Result<(), String> {
    let shape = outcome.trace.join("\n");
    let compare = || insta::assert_snapshot!(outcome.name.as_str(), shape);
    catch_unwind(AssertUnwindSafe(compare)).map_err(|_| {
        "the order of things differs from the snapshot; the difference is in nextest.log".to_owned()
    })
}
