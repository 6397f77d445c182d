//! The exit code of a report, with histories in which the run is slower, like others, or alone.

use camino::Utf8PathBuf;

use super::*;
use crate::evidence::{RESULT, SEAL, STARTED};
use crate::history::{Metric, UNKNOWN_HOST, fingerprint};
use crate::host_facts::HOST;
use crate::outcome::ScenarioOutcome;

/// A directory with the results of a run that passed, and the place of its history.
fn stored_run() -> (tempfile::TempDir, Utf8PathBuf, Utf8PathBuf) {
    let keep = tempfile::tempdir_in(simulator::testbed::MEMORY).unwrap();
    let top = Utf8Path::from_path(keep.path()).unwrap().to_owned();
    let dir = top.join("run");
    std::fs::create_dir(&dir).unwrap();
    let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stored/results-schema-2.json");
    std::fs::copy(stored, dir.join("results.json")).unwrap();
    (keep, dir, top.join("history.sqlite"))
}

fn no_host() -> Result<HostFacts> {
    anyhow::bail!("the host of today was asked for")
}

/// The exit code of a report on the run in `dir`, compared or not.
fn code(dir: &Utf8Path, history: &Utf8Path, against: Option<Against>) -> u8 {
    let comparing = against.map(|against| Comparing { against, last: 100, trend: true });
    run(dir, Detail::Tables, Some(history), comparing.as_ref()).unwrap()
}

/// Fills a history with runs before the stored one: 30 that took `factor` of its times, and then 11
/// that took as long as it did, all give or take 2 %.
fn fill(dir: &Utf8Path, path: &Utf8Path, factor: f64) {
    let results = report::load(dir, no_host).unwrap();
    let stored = RunRecord::of(&results, dir);
    let mut history = History::open(path).unwrap();
    for number in 0..41_u32 {
        let level = if number < 30 { factor } else { 1.0 };
        let spread = 1.0 + 0.01 * [0.0, 2.0, -1.0, 1.0, -2.0][number as usize % 5];
        let slower = |metric: &Metric| match metric.name.as_str() {
            "rto-ms" => Metric { value: metric.value * level * spread, ..metric.clone() },
            _ => metric.clone(),
        };
        history
            .add(&RunRecord {
                run: format!("earlier-{number:02}"),
                began: format!("2020-{:02}-{:02}T00:00:00Z", 1 + number / 28, 1 + number % 28),
                metrics: stored.metrics.iter().map(slower).collect(),
                ..stored.clone()
            })
            .unwrap();
    }
}

#[test]
fn a_run_that_is_slower_than_earlier_ones_ends_with_2_and_every_report_says_so() {
    let (_keep, dir, path) = stored_run();
    fill(&dir, &path, 0.8);
    assert_eq!(code(&dir, &path, None), 0, "without a comparison");
    assert_eq!(code(&dir, &path, Some(Against::EarlierRuns)), 2);
    for name in ["results.json", "junit.xml", "report.html", TREND] {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(text.contains("recovery time (RTO)") && text.contains("failover"), "{name}");
    }
    assert_eq!(code(&dir, &path, None), 0, "what an earlier report found is no part of the run");
    let text = std::fs::read_to_string(dir.join("results.json")).unwrap();
    assert!(!text.contains("recovery time (RTO)"));
}

#[test]
fn a_run_like_earlier_ones_ends_with_0() {
    let (_keep, dir, path) = stored_run();
    fill(&dir, &path, 1.0);
    assert_eq!(code(&dir, &path, Some(Against::EarlierRuns)), 0);
}

#[test]
fn a_first_run_is_not_judged_unless_a_baseline_was_named() {
    let (_keep, dir, path) = stored_run();
    assert_eq!(code(&dir, &path, Some(Against::EarlierRuns)), 0);
    for baseline in ["run", "no-such-run"] {
        assert_eq!(code(&dir, &path, Some(Against::named(baseline))), 3, "{baseline}");
    }
}

#[test]
fn a_history_that_cannot_be_used_is_no_pass() {
    let (_keep, dir, path) = stored_run();
    std::fs::write(&path, b"this is no database, but a text that is long enough".repeat(20)).unwrap();
    assert_eq!(code(&dir, &path, Some(Against::EarlierRuns)), 3, "damaged");
    assert_eq!(code(&dir, &path, None), 0, "no comparison was asked for");
    std::fs::remove_file(&path).unwrap();
    drop(History::open(&path).unwrap());
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    assert_eq!(code(&dir, &path, Some(Against::EarlierRuns)), 3, "newer");
}

#[test]
fn a_broken_rule_stays_the_verdict_whatever_the_history_says() {
    assert_eq!([0, 2, 3].map(|code| without_answer(code, Verdict::Pass)), [3, 3, 3]);
    assert_eq!(without_answer(1, Verdict::Fail), 1);
    assert!(Said::Judged.is_answer(true) && Said::TooFew.is_answer(false));
    assert!(!Said::TooFew.is_answer(true) && !Said::Nothing.is_answer(false));
}

/// A run that was killed before its first report. Its one scenario passed.
fn killed_run() -> (tempfile::TempDir, Utf8PathBuf, Utf8PathBuf) {
    let (keep, dir, history) = stored_run();
    std::fs::remove_file(dir.join("results.json")).unwrap();
    let scenario = dir.join("vmware-azure");
    std::fs::create_dir(&scenario).unwrap();
    let mark = serde_json::json!({"scenario": "vmware-azure"});
    std::fs::write(scenario.join(STARTED), mark.to_string()).unwrap();
    let mut outcome = ScenarioOutcome::begun("vmware-azure", "", None);
    outcome.verdict = Verdict::Pass;
    let text = serde_json::to_vec(&outcome).unwrap();
    let seal = serde_json::json!({"result": blake3::hash(&text).to_string()});
    std::fs::write(scenario.join(SEAL), seal.to_string()).unwrap();
    std::fs::write(scenario.join(RESULT), text).unwrap();
    (keep, dir, history)
}

#[test]
fn a_run_that_was_killed_keeps_the_host_that_it_noted_wherever_it_is_reported() {
    let (_keep, dir, path) = killed_run();
    let host = HostFacts { cpu: "of another host".into(), cores: 3, ..HostFacts::default() };
    std::fs::write(dir.join(HOST), serde_json::to_vec(&host).unwrap()).unwrap();
    code(&dir, &path, None);
    let runs = History::read(&path).unwrap().unwrap().runs().unwrap();
    assert_eq!((&runs[0].host, &runs[0].fingerprint), (&host, &fingerprint(&host)));
}

#[test]
fn a_run_that_noted_no_host_is_not_taken_for_one_of_this_host() {
    let (_keep, dir, path) = killed_run();
    code(&dir, &path, None);
    let runs = History::read(&path).unwrap().unwrap().runs().unwrap();
    assert_eq!(runs[0].fingerprint, UNKNOWN_HOST);
}
