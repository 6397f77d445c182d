//! Evidence that is not that of its scenario and run: copied, renamed or edited.

use super::*;
use crate::evidence::start_mark::StartMark;
use crate::outcome::Results;

/// Simulated scenarios.
const SIMULATED: [&str; 2] = ["sim-kvm-kvm", "sim-vmware-azure"];

/// A run on guests with two simulated scenarios.
async fn run_of_three() -> Run {
    let run = sound_run().await;
    for name in SIMULATED {
        let mut outcome = ScenarioOutcome::begun(name, "", None);
        outcome.verdict = Verdict::Pass;
        run.begin(name).end(&outcome).unwrap();
    }
    let (recheck, code) = run.recheck().await;
    assert_eq!((code, report_of(&run).verdict), (0, Verdict::Pass), "{:#?}", recheck.lines);
    run
}

fn report_of(run: &Run) -> Results {
    report::collect(&run.dir, HostFacts::default()).unwrap()
}

/// Lets the evidence of a scenario say that it is of this run.
fn of_run(run: &Run, scenario: &str, id: &str) {
    let dir = run.dir.join(scenario);
    let mark = StartMark { run: Some(id.to_owned()), ..StartMark::read(&dir).unwrap() };
    std::fs::write(dir.join(STARTED), serde_json::to_vec(&mark).unwrap()).unwrap();
}

fn copy(from: &Utf8Path, to: &Utf8Path) {
    std::fs::create_dir(to).unwrap();
    for entry in from.read_dir_utf8().unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Requires that nothing is said of a scenario, for this reason, in the report and when it is
/// judged again.
async fn require_unknown(run: &Run, scenario: &str, reason: &str) {
    let results = report_of(run);
    let outcome = results.scenarios.iter().find(|outcome| outcome.name == scenario).unwrap();
    assert_eq!((outcome.verdict, results.verdict), (Verdict::Unknown, Verdict::Unknown), "{outcome:?}");
    assert!(outcome.why.contains(reason) && outcome.rules.is_empty(), "{}", outcome.why);
    let (recheck, code) = run.recheck().await;
    assert_eq!(code, 3, "{:#?}", recheck.lines);
    assert!(recheck.lines.iter().any(|line| line.contains(reason)), "{:#?}", recheck.lines);
}

#[tokio::test]
async fn the_evidence_of_another_run_is_unknown_and_names_that_run() {
    for scenario in [SCENARIO, SIMULATED[0]] {
        let run = run_of_three().await;
        of_run(&run, scenario, "another");
        require_unknown(
            &run,
            scenario,
            "its evidence is of run another, that of other scenarios of run test",
        )
        .await;
        let certificate = run.dir.join("certificate.json");
        report::write(&run.dir, &report_of(&run)).unwrap();
        let (recheck, _) = crate::certificate::certify(&run.dir, &certificate).await.unwrap();
        assert_eq!(recheck.verdict, Verdict::Unknown);
    }
}

#[tokio::test]
async fn an_edited_result_is_unknown_in_a_report() {
    let run = run_with([5, 1]).await;
    assert_eq!(report_of(&run).verdict, Verdict::Fail);
    run.write_result(|outcome| {
        outcome.verdict = Verdict::Pass;
        outcome.edges.clear();
        outcome.rules.clear();
    });
    let results = report_of(&run);
    assert_eq!(results.verdict, Verdict::Unknown);
    assert!(results.scenarios[0].why.contains("edited afterwards"), "{}", results.scenarios[0].why);
}

#[tokio::test]
async fn a_result_whose_seal_is_gone_is_unknown_unless_its_suite_had_no_seals() {
    let run = sound_run().await;
    std::fs::remove_file(run.scenario().join(SEAL)).unwrap();
    let results = report_of(&run);
    assert!(results.scenarios[0].why.contains(SEAL), "{}", results.scenarios[0].why);
    assert_eq!(results.verdict, Verdict::Unknown);
    let path = run.scenario().join(RESULT);
    let mut result: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    result.as_object_mut().unwrap().remove("seeds").unwrap();
    std::fs::write(&path, result.to_string()).unwrap();
    assert_eq!(report_of(&run).verdict, Verdict::Pass);
}

#[tokio::test]
async fn a_copy_of_a_scenario_is_no_second_scenario() {
    let run = run_of_three().await;
    copy(&run.dir.join(SIMULATED[0]), &run.dir.join("sim-rules"));
    require_unknown(&run, "sim-rules", "its evidence is of scenario sim-kvm-kvm").await;
    std::fs::remove_dir_all(run.dir.join("sim-rules")).unwrap();
    copy(&run.dir.join(SIMULATED[0]), &run.dir.join("a-copy"));
    require_unknown(&run, "a-copy", "its evidence is of scenario sim-kvm-kvm").await;
}

#[tokio::test]
async fn a_run_that_was_copied_or_renamed_as_a_whole_stays_as_it_is() {
    let mut run = run_of_three().await;
    let renamed = run.dir.join("renamed");
    std::fs::create_dir(&renamed).unwrap();
    for name in [SCENARIO, SIMULATED[0], SIMULATED[1]] {
        std::fs::rename(run.dir.join(name), renamed.join(name)).unwrap();
    }
    run.dir = renamed;
    assert_eq!((report_of(&run).verdict, run.recheck().await.1), (Verdict::Pass, 0));
}

#[tokio::test]
async fn the_evidence_of_one_scenario_is_judged_wherever_it_was_copied() {
    let run = sound_run().await;
    let elsewhere = run.dir.join("elsewhere");
    std::fs::rename(run.scenario(), &elsewhere).unwrap();
    let again = recheck(&elsewhere).await.unwrap();
    assert_eq!(again.verdict, Verdict::Pass, "{:#?}", again.lines);
}
