//! The real tier: each scenario is one test of the same name.

use std::panic::{AssertUnwindSafe, catch_unwind};

use conformance::outcome::{ScenarioOutcome, Verdict};
use conformance::scenario::Scenario;
use conformance::{real, runner};
use libtest_mimic::{Arguments, Failed, Trial};

/// A scenario has many threads that live for a moment and hold large buffers. glibc has up to eight
/// heaps for each processor, and each keeps memory that was freed, so that a run of many cycles
/// would grow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments = Arguments::from_args();
    conformance::supervision::end_with_the_runner();
    let scenarios = real::scenarios().unwrap_or_else(|error| panic!("scenarios.toml: {error:#}"));
    let trials =
        scenarios.into_iter().map(|scenario| Trial::test(scenario.name.clone(), move || run(&scenario)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn run(scenario: &Scenario) -> Result<(), Failed> {
    let outcome =
        runner::run(scenario, matches_snapshot).map_err(|error| Failed::from(format!("{error:#}")))?;
    match outcome.verdict {
        Verdict::Pass | Verdict::Skipped => Ok(()),
        verdict => Err(Failed::from(format!("{verdict:?}: {}", outcome.why))),
    }
}

/// Compares the order of phases, states, job steps, oracle classes and time bounds with the
/// snapshot. No trace line has a time or a number that differs from run to run, so nothing is
/// redacted.
fn matches_snapshot(outcome: &ScenarioOutcome) -> Result<(), String> {
    let shape = outcome.trace.join("\n");
    let compare = || insta::assert_snapshot!(outcome.name.as_str(), shape);
    catch_unwind(AssertUnwindSafe(compare))
        .map_err(|_| format!("the trace differs from tests/snapshots/real__{}.snap", outcome.name))
}
