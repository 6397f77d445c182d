//! Scenarios that were skipped because the core lacks what they need.

use super::*;
use crate::certificate;

/// A scenario that its core cannot end.
const SECOND: &str = "azure-azure";

/// A run of two scenarios. The second one is skipped after its first edge; then `change` alters its
/// outcome.
async fn half_skipped(change: impl FnOnce(&mut ScenarioOutcome)) -> Run {
    let run = sound_run().await;
    let evidence = run.begin(SECOND);
    let mut outcome = ScenarioOutcome::begun(SECOND, "", None);
    "mine 1.0".clone_into(&mut outcome.core);
    outcome.verdict = Verdict::Skipped;
    outcome.why = "the core lacks reprotect".to_owned();
    outcome.edges.push(store_edge(evidence.dir(), "failover", [4, 2]).await);
    let row = real::scenarios().unwrap().into_iter().find(|row| row.name == SECOND).unwrap();
    let left = row.edges.iter().filter(|name| *name != "failover");
    outcome.edges.extend(left.map(|name| EdgeOutcome::skipped(name, &outcome.why)));
    let mut rules = RuleLog::default();
    rules.check(FO_10, true, "the disks");
    row.promises.iter().for_each(|rule| rules.skip(*rule, "reprotect"));
    outcome.rules = rules.into_outcomes();
    change(&mut outcome);
    evidence.end(&outcome).unwrap();
    run
}

#[tokio::test]
async fn a_skipped_scenario_leaves_the_rest_of_its_run_a_pass_and_says_that_it_was_skipped() {
    let run = half_skipped(|_| {}).await;
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 0, "{:#?}", recheck.lines);
    let lines = |part: &str| recheck.lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!(lines(&format!("{SECOND}: its recorded verdict is skipped: the core lacks reprotect")), 1);
    assert_eq!(lines(&format!("{SECOND} reprotect: skipped")), 1, "{:#?}", recheck.lines);
    assert_eq!(lines(&format!("{SECOND} failover data: exact")), 1, "what was judged is judged again");
    assert_eq!((lines("older suite"), lines("better than")), (0, 0), "{:#?}", recheck.lines);
}

#[tokio::test]
async fn a_run_with_a_skipped_scenario_gets_a_certificate() {
    let run = half_skipped(|_| {}).await;
    let results = report::collect(&run.dir, HostFacts::default()).unwrap();
    assert_eq!(results.verdict, Verdict::Pass);
    report::write(&run.dir, &results).unwrap();
    let (recheck, written) = certificate::certify(&run.dir, &run.dir.join("certificate.json")).await.unwrap();
    assert_eq!((recheck.verdict, written), (Verdict::Pass, true), "{:#?}", recheck.lines);
}

#[tokio::test]
async fn a_disk_that_was_altered_before_the_rest_was_skipped_is_no_pass() {
    let run = half_skipped(|_| {}).await;
    let path = run.dir.join(SECOND).join("edges/failover/system.recovered.raw");
    let mut disk = std::fs::read(&path).unwrap();
    disk[8 * SECTOR] ^= 1;
    std::fs::write(path, disk).unwrap();
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 1, "{:#?}", recheck.lines);
}

#[tokio::test]
async fn a_skipped_edge_of_a_scenario_that_passed_is_unknown() {
    let run = half_skipped(|outcome| {
        outcome.verdict = Verdict::Pass;
        outcome.why.clear();
    });
    let (recheck, code) = run.await.recheck().await;
    assert_eq!(code, 3, "{:#?}", recheck.lines);
    let line = format!("{SECOND} reprotect: recorded as skipped, and its scenario is not");
    assert!(recheck.lines.contains(&line), "{:#?}", recheck.lines);
}

#[tokio::test]
async fn what_failed_in_a_scenario_that_is_recorded_as_skipped_fails() {
    let run = half_skipped(|outcome| outcome.edges[0].verdict = Verdict::Fail).await;
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 1);
    assert!(recheck.lines.iter().any(|line| line.ends_with("better than that of edge failover")));
}
