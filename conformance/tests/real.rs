//! The real tier: each scenario is one test, named like it.

use conformance::outcome::{ScenarioOutcome, Verdict};
use conformance::scenario::{self, Scenario, Tier};
use conformance::trial;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let scenarios = scenario::all().unwrap_or_else(|error| panic!("scenarios.toml: {error}"));
    let real = scenarios.into_iter().filter(|scenario| scenario.tier == Tier::Real);
    let trials = real.map(|scenario| Trial::test(scenario.name.clone(), move || run(&scenario))).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(scenario: &Scenario) -> Result<(), Failed> {
    let outcome = trial::run(scenario).map_err(|error| Failed::from(format!("{error:#}")))?;
    match outcome.verdict {
        Verdict::Pass => Ok(()),
        verdict => Err(Failed::from(format!("{verdict:?}: {}", outcome.why))),
    }
}

#[allow(dead_code)]
fn shape(_: &ScenarioOutcome) {}
