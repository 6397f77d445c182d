//! The sim tier judges the built-in core over the wire rule for rule as it does in-process.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use conformance::outcome::{ScenarioOutcome, Verdict};
use conformance::scenario::{self, Tier};
use conformance::wire_core;

/// The child's variable with the file for what it found.
const OUTCOMES: &str = "OUTCOMES_FILE";

/// Runs the sim tier in a process of its own, with the core that `core` names. All runs have one
/// id, from which the seeds follow.
fn tier(core: &str, dir: &Path) -> (Vec<ScenarioOutcome>, Duration) {
    let file = dir.join("outcomes.json");
    let began = Instant::now();
    let program = std::env::current_exe().expect("this test is a program");
    let output = Command::new(program)
        .args(["--exact", "runs_the_sim_tier", "--ignored", "--nocapture"])
        .env("ROUNDTRIP_RUN_ID", "same-verdicts")
        .env("ROUNDTRIP_RUN_DIR", dir)
        .env(wire_core::VARIABLE, core)
        .env(OUTCOMES, &file)
        .output()
        .expect("the child runs");
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read(&file).expect("the child has written what it found");
    (serde_json::from_slice(&text).expect("outcomes"), took)
}

/// Names, of rules or of edges, with their verdicts.
type Verdicts = Vec<(String, Verdict)>;

/// What is compared of a scenario: its verdict, those of its rules, and those of its edges.
fn judged(outcome: &ScenarioOutcome) -> (Verdict, Verdicts, Verdicts) {
    let rules = outcome.rules.iter().map(|rule| (rule.id.to_string(), rule.verdict)).collect();
    let edges = outcome.edges.iter().map(|edge| (edge.name.clone(), edge.verdict)).collect();
    (outcome.verdict, rules, edges)
}

#[test]
fn the_verdicts_over_the_wire_are_those_in_process() {
    let dirs = [tempfile::tempdir(), tempfile::tempdir()].map(|dir| dir.expect("a directory"));
    let (inside, inside_took) = tier("", dirs[0].path());
    let (outside, outside_took) = tier(env!("CARGO_BIN_EXE_roundtrip-core"), dirs[1].path());
    println!(
        "sim tier: in-process {:.1} s, over the wire {:.1} s, {:.1} times as long",
        inside_took.as_secs_f64(),
        outside_took.as_secs_f64(),
        outside_took.as_secs_f64() / inside_took.as_secs_f64()
    );
    let by_name = |all: &[ScenarioOutcome]| -> BTreeMap<String, _> {
        all.iter().map(|outcome| (outcome.name.clone(), judged(outcome))).collect()
    };
    let rules: usize = inside.iter().map(|outcome| outcome.rules.len()).sum();
    assert!(rules > 100, "only {rules} rules were judged");
    assert_eq!(by_name(&inside), by_name(&outside));
    assert!(inside.iter().all(|outcome| outcome.verdict == Verdict::Pass));
}

/// Not a test by itself: the child of the test above.
#[test]
#[ignore = "the child of the other test"]
fn runs_the_sim_tier() {
    let Some(file) = std::env::var_os(OUTCOMES) else { return };
    let scenarios = scenario::all().expect("the scenarios");
    let simulated = scenarios.iter().filter(|scenario| scenario.tier == Tier::Sim);
    let outcomes: Vec<_> =
        simulated.map(|scenario| conformance::sim::run(scenario).expect("the scenario runs")).collect();
    std::fs::write(file, serde_json::to_vec(&outcomes).expect("JSON")).expect("the file is written");
}
