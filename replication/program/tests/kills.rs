//! The core is killed in the middle of simulated cycles and started again. The cycles go on to
//! their end, and a core that forgets what it did is found.

use std::process::Command;

use conformance::outcome::{ScenarioOutcome, Verdict};
use conformance::rules::ids::LC_01;
use conformance::scenario::{self, Tier};
use conformance::wire_core;

/// The child's variable with the file for what it found.
const OUTCOME: &str = "OUTCOME_FILE";
/// How many moments of a cycle are tried here; every one of them is tried every night.
const SAMPLE: &str = "24";

/// Runs the killed cycles of a scenario in a process of its own.
fn killed(core: &str, kills: &str) -> ScenarioOutcome {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("outcome.json");
    let output = Command::new(std::env::current_exe().expect("this test is a program"))
        .args(["--exact", "runs_killed_cycles", "--ignored", "--nocapture"])
        .env("ROUNDTRIP_RUN_ID", "killed")
        .env("ROUNDTRIP_RUN_DIR", dir.path())
        .env("ROUNDTRIP_KILLS", kills)
        .env(wire_core::VARIABLE, core)
        .env(OUTCOME, &file)
        .output()
        .expect("the child runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let text = std::fs::read(&file).expect("the child has written what it found");
    serde_json::from_slice(&text).expect("an outcome")
}

#[test]
fn cycles_go_on_after_the_core_was_killed() {
    let outcome = killed(env!("CARGO_BIN_EXE_roundtrip-core"), SAMPLE);
    assert_eq!(outcome.verdict, Verdict::Pass, "{}", outcome.why);
    assert!(outcome.rules.iter().any(|rule| rule.id == LC_01));
}

#[test]
fn a_core_that_forgets_with_its_process_is_found() {
    let core = env!("CARGO_BIN_EXE_roundtrip-core");
    let forgetful = format!("sh -c 'rm -rf \"$ROUNDTRIP_CORE_STATE_DIR\"/*; exec \"{core}\"'");
    let outcome = killed(&forgetful, "1");
    assert_eq!(outcome.verdict, Verdict::Fail, "{}", outcome.why);
    assert!(outcome.why.contains("killed at moment"), "{}", outcome.why);
}

/// Not a test by itself: the child of the tests above.
#[test]
#[ignore = "the child of the other tests"]
fn runs_killed_cycles() {
    let Some(file) = std::env::var_os(OUTCOME) else { return };
    let scenarios = scenario::all().expect("the scenarios");
    let cycle = scenarios.iter().find(|one| one.tier == Tier::Sim && one.name == "sim-vmware-azure");
    let outcome = conformance::sim::run(cycle.expect("the scenario")).expect("the scenario runs");
    std::fs::write(file, serde_json::to_vec(&outcome).expect("JSON")).expect("the file is written");
}
