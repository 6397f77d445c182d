//! The evidence of a merged run is judged again like that of any run.

use serde_json::json;

use super::*;
use crate::merge::merge;
use crate::outcome::DIVISION;

/// Makes the run a shard, of which the scenarios of each are given.
fn make_shard(run: &Run, number: usize, divided: [&[&str]; 2]) {
    let division = json!({"kind": "shard", "number": number, "of": 2, "run": "nightly", "sources": "abc",
        "command": "cargo xtask conformance", "divided": divided});
    let put = |name: &str, value: serde_json::Value| {
        std::fs::write(run.dir.join(name), value.to_string()).unwrap();
    };
    put(DIVISION, division);
    put(ASKED, json!(divided[number - 1]));
    let results = report::load(&run.dir, || Ok(HostFacts::default())).unwrap();
    report::write(&run.dir, &results).unwrap();
    put("ended.json", json!({"code": report::exit_code(results.verdict, false)}));
}

/// A run on guests and a simulated one, merged.
async fn merged_run() -> Run {
    let (guests, simulated, merged) = (sound_run().await, Run::new(), Run::new());
    let mut outcome = ScenarioOutcome::begun("sim-kvm-kvm", "", None);
    outcome.verdict = Verdict::Pass;
    simulated.begin("sim-kvm-kvm").end(&outcome).unwrap();
    let divided: [&[&str]; 2] = [&[SCENARIO], &["sim-kvm-kvm"]];
    make_shard(&guests, 1, divided);
    make_shard(&simulated, 2, divided);
    let complaints = merge(&[guests.dir.clone(), simulated.dir.clone()], &merged.dir).unwrap();
    assert!(complaints.is_empty(), "{complaints:?}");
    let results = report::load(&merged.dir, || Ok(HostFacts::default())).unwrap();
    report::write(&merged.dir, &results).unwrap();
    merged
}

#[tokio::test]
async fn a_merged_run_is_judged_again_like_one_run() {
    let merged = merged_run().await;
    let (recheck, code) = merged.recheck().await;
    assert_eq!(code, 0, "{:#?}", recheck.lines);
    let again = recheck.lines.iter().filter(|line| line.ends_with("(as before)")).count();
    assert_eq!(again, 8, "{:#?}", recheck.lines);
}

#[tokio::test]
async fn an_altered_byte_of_a_merged_run_never_passes() {
    let merged = merged_run().await;
    merged.alter("system.recovered.raw", 8 * SECTOR);
    assert_eq!(merged.recheck().await.1, 1);
}

#[tokio::test]
async fn a_scenario_that_is_gone_from_a_merged_run_never_passes() {
    let merged = merged_run().await;
    std::fs::remove_dir_all(merged.scenario()).unwrap();
    assert_eq!(merged.recheck().await.1, 3);
}
