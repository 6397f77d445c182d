//! The simulated tier: each scenario is one test, named like it.

use conformance::outcome::Verdict;
use conformance::scenario::{self, Scenario, Tier};
use conformance::sim;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    conformance::supervision::end_with_the_runner();
    let scenarios = scenario::all().unwrap_or_else(|error| panic!("scenarios.toml: {error}"));
    let simulated = scenarios.into_iter().filter(|scenario| scenario.tier == Tier::Sim);
    let trials =
        simulated.map(|scenario| Trial::test(scenario.name.clone(), move || run(&scenario))).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(scenario: &Scenario) -> Result<(), Failed> {
    let outcome = sim::run(scenario).map_err(|error| Failed::from(format!("{error:#}")))?;
    match outcome.verdict {
        Verdict::Pass | Verdict::Skipped => Ok(()),
        verdict => Err(Failed::from(format!("{verdict:?}: {}", outcome.why))),
    }
}
