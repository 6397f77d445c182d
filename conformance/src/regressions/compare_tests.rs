//! Comparisons of whole histories.

use std::time::Instant;

use camino::Utf8PathBuf;

use super::super::series::tests::{metric, run};
use super::super::words::{lines, table};
use super::*;
use crate::history::{BenchValue, RunRecord, ScenarioRecord, export};
use crate::outcome::Verdict;

/// A history with these runs, in memory: what counts here is not how safely it is stored.
fn history(runs: &[RunRecord]) -> (tempfile::TempDir, History) {
    let keep = tempfile::tempdir_in(simulator::testbed::MEMORY).unwrap();
    let path = Utf8Path::from_path(keep.path()).unwrap().join("history.sqlite");
    let mut history = History::open(&path).unwrap();
    runs.iter().for_each(|run| drop(history.add(run).unwrap()));
    (keep, history)
}

/// A run whose failover takes this many boots, give or take 2 %.
fn taking(number: u64, boots: f64) -> RunRecord {
    let spread = 1.0 + 0.01 * [0.0, 2.0, -1.0, 1.0, -2.0][number as usize % 5];
    let metrics =
        vec![metric("", "boot-ms", 5_000.0), metric("failover", "rto-ms", 5_000.0 * boots * spread)];
    RunRecord { metrics, ..run(number) }
}

/// Runs of which the last `slow` ones take 15 % longer.
fn runs(count: u64, slow: u64) -> Vec<RunRecord> {
    (0..count).map(|number| taking(number, if number < count - slow { 1.4 } else { 1.61 })).collect()
}

/// A comparison with a regression, a level series and one of too few runs.
pub(crate) fn sample() -> Comparison {
    let mut runs = runs(40, 10);
    for (number, run) in runs.iter_mut().enumerate() {
        run.metrics.push(metric("failover", "rpo-ms", 100.0 + (number * 37 % 11) as f64));
    }
    runs[39].metrics.push(metric("failback", "sent-bytes", 4_096.0));
    searched(&runs)
}

fn searched(runs: &[RunRecord]) -> Comparison {
    let (_keep, history) = history(runs);
    compare(&history, &runs.last().unwrap().run, &Against::EarlierRuns, USUAL_LAST).unwrap()
}

#[test]
fn a_slowdown_is_a_regression_that_names_its_first_run_and_what_changed_with_it() {
    let mut runs = runs(40, 10);
    runs[30..].iter_mut().for_each(|run| run.core = "built-in 0.2.0".into());
    let comparison = searched(&runs);
    assert_eq!(comparison.regressions().count(), 1);
    let text = lines(&comparison);
    for wanted in [
        "↓ REGRESSION  vmware-azure · failover: recovery time (RTO) from 1.400 to 1.6",
        "+15.0 % (95 % interval +1",
        "30 runs before, 10 since run-0030 of 2026-01-01T03:30:00Z",
        "changed with it: core built-in 0.1.0 → built-in 0.2.0",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    assert!(table(&comparison).contains("vmware-azure · failover"));
}

#[test]
fn a_level_history_has_no_regression() {
    let comparison = searched(&runs(40, 0));
    assert_eq!((comparison.regressions().count(), comparison.is_judged()), (0, true));
    assert!(lines(&comparison).contains("1 series did not change"));
}

#[test]
fn one_run_only_is_not_judged_and_says_so() {
    let comparison = searched(&runs(1, 0));
    assert!(!comparison.is_judged());
    let text = lines(&comparison);
    assert!(text.contains("NOT JUDGED: 1 series have 1 runs or fewer, and need "), "{text}");
    let nothing = searched(&[run(1)]);
    assert!(!nothing.is_judged() && lines(&nothing).contains("NOT JUDGED: the run measured nothing"));
}

#[test]
fn a_regression_that_was_accepted_is_none_until_the_next_one() {
    let mut runs = runs(40, 10);
    let (_keep, mut history) = history(&runs);
    history.accept("run-0035").unwrap();
    let compared =
        |history: &History, id: &str| compare(history, id, &Against::EarlierRuns, USUAL_LAST).unwrap();
    let accepted = compared(&history, "run-0039");
    assert_eq!(accepted.regressions().count(), 0);
    let text = lines(&accepted);
    assert!(text.contains("  accepted  vmware-azure · failover: recovery time"), "{text}");
    runs.extend((40..60).map(|number| taking(number, 1.9)));
    runs[40..].iter().for_each(|run| drop(history.add(run).unwrap()));
    assert_eq!(compared(&history, "run-0059").regressions().count(), 1);
}

#[test]
fn a_baseline_shows_what_is_worse_whatever_was_accepted_before() {
    let runs = runs(40, 10);
    let (keep, mut history) = history(&runs);
    history.accept("run-0029").unwrap();
    let file = exported(&keep, &runs[..29]);
    for against in [Against::EarlierRuns, Against::Run("run-0028".into()), Against::Baseline(file)] {
        let comparison = compare(&history, "run-0039", &against, USUAL_LAST).unwrap();
        assert_eq!(comparison.regressions().count(), 1, "{against:?}");
    }
    // The change itself was accepted, and the border was named nevertheless.
    history.accept("run-0035").unwrap();
    let against = Against::Run("run-0028".into());
    assert_eq!(compare(&history, "run-0039", &against, USUAL_LAST).unwrap().regressions().count(), 1);
}

#[test]
fn what_is_accepted_of_another_host_or_core_accepts_nothing() {
    let runs = runs(40, 10);
    let (_keep, mut history) = history(&runs);
    let mut other_core = RunRecord { run: "mine".into(), ..run(35) };
    other_core.scenarios[0].core = "mine 1.0".into();
    let other_host = RunRecord { run: "elsewhere".into(), fingerprint: "another".into(), ..run(36) };
    for other in [other_core, other_host] {
        let id = history.add(&other).unwrap();
        history.accept(&id).unwrap();
    }
    let regressions = |history: &History| {
        compare(history, "run-0039", &Against::EarlierRuns, USUAL_LAST).unwrap().regressions().count()
    };
    assert_eq!(regressions(&history), 1);
    history.accept("run-0034").unwrap();
    assert_eq!(regressions(&history), 0);
}

#[test]
fn benchmarks_in_the_history_change_nothing_about_its_runs() {
    let runs = runs(40, 10);
    let (_keep, mut history) = history(&runs);
    let compared = |history: &History, against| compare(history, "run-0039", &against, USUAL_LAST);
    let told = |history: &History| {
        let comparison = compared(history, Against::EarlierRuns).unwrap();
        lines(&comparison) + &table(&comparison)
    };
    let without = told(&history);
    for number in 0..40 {
        let metrics = BenchValue::Ratio.of("first copy, dd", 1.0 + number as f64).into_iter().collect();
        let id = format!("bench-{number:04}");
        history.add_bench(&RunRecord { run: id, metrics, ..run(number) }).unwrap();
    }
    history.accept("bench-0039").unwrap();
    assert_eq!(told(&history), without);
    let against = compared(&history, Against::Run("bench-0001".into()));
    assert!(matches!(against, Err(NotCompared::History(HistoryError::NoSuchRun { .. }))));
}

#[test]
fn runs_of_other_hosts_are_counted_and_never_compared() {
    let mut runs = runs(40, 10);
    runs[..30].iter_mut().for_each(|run| run.fingerprint = "another".into());
    let comparison = searched(&runs);
    assert!(!comparison.is_judged() && comparison.regressions().count() == 0);
    assert_eq!((comparison.runs.len(), comparison.other_hosts), (10, 30));
    assert!(lines(&comparison).contains("30 runs on other hosts or accelerators are other series"));
}

#[test]
fn later_runs_do_not_count() {
    let runs = runs(40, 10);
    let (_keep, history) = history(&runs);
    let comparison = compare(&history, "run-0029", &Against::EarlierRuns, USUAL_LAST).unwrap();
    assert_eq!((comparison.runs.len(), comparison.regressions().count()), (30, 0));
}

#[test]
fn an_edge_that_was_not_measured_or_did_not_pass_is_named() {
    let mut runs = runs(40, 0);
    let failed = ScenarioRecord { verdict: Verdict::Unknown, ..runs[39].scenarios[0].clone() };
    runs[39].scenarios = vec![failed];
    let comparison = searched(&runs);
    assert!(!comparison.is_judged());
    let text = lines(&comparison);
    assert!(text.contains("did not pass, so that their values do not count: vmware-azure"), "{text}");
    runs[39] = RunRecord { metrics: vec![metric("", "boot-ms", 5_000.0)], ..run(39) };
    let text = lines(&searched(&runs));
    assert!(text.contains("not measured in this run: vmware-azure · failover: recovery time"), "{text}");
}

#[test]
fn a_run_can_be_the_baseline_of_those_after_it() {
    let runs = runs(20, 10);
    let (_keep, history) = history(&runs);
    let against = |id: &str| compare(&history, "run-0019", &Against::Run(id.to_owned()), USUAL_LAST);
    let comparison = against("run-0009").unwrap();
    assert_eq!(comparison.regressions().count(), 1);
    assert!(lines(&comparison).contains("10 runs of the baseline, 10 runs since"));
    assert!(!against("run-0018").unwrap().judged.is_empty());
    assert!(!against("run-0000").unwrap().is_judged(), "one run has no distribution");
    assert!(matches!(against("run-0019"), Err(NotCompared::NotBefore { .. })));
    assert!(matches!(against("run-9999"), Err(NotCompared::History(HistoryError::NoSuchRun { .. }))));
}

/// A file with these runs, as `history export` prints them.
fn exported(dir: &tempfile::TempDir, runs: &[RunRecord]) -> Utf8PathBuf {
    let path = Utf8Path::from_path(dir.path()).unwrap().join("baseline.jsonl");
    let text: String = runs.iter().map(|run| export(run).unwrap()).collect();
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_file_can_be_the_baseline() {
    let runs = runs(20, 10);
    let (keep, history) = history(&runs[10..]);
    let path = exported(&keep, &runs[..10]);
    let comparison = compare(&history, "run-0019", &Against::Baseline(path), USUAL_LAST).unwrap();
    assert_eq!((comparison.regressions().count(), comparison.baseline), (1, Some(9)));
}

#[test]
fn a_baseline_that_cannot_be_read_or_compared_is_an_error_of_one_line() {
    let (keep, history) = history(&runs(12, 0));
    let compare =
        |path: Utf8PathBuf| compare(&history, "run-0011", &Against::Baseline(path), USUAL_LAST).unwrap_err();
    let missing = compare(Utf8Path::from_path(keep.path()).unwrap().join("none"));
    let other = RunRecord { fingerprint: "another".into(), ..taking(1, 1.4) };
    let of_another_host = compare(exported(&keep, &[other]));
    assert!(matches!(of_another_host, NotCompared::NoneComparable { .. }), "{of_another_host}");
    let path = exported(&keep, &[]);
    std::fs::write(&path, "{\"run\": 1}\n").unwrap();
    let malformed = compare(path);
    assert!(matches!(malformed, NotCompared::Baseline { .. }), "{malformed}");
    for error in [missing, of_another_host, malformed] {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_core_that_was_made_slow_on_purpose_is_found_beside_the_sound_one() {
    let mut runs = runs(40, 10);
    runs[30..].iter_mut().for_each(|run| run.command += " --variant slow-start");
    assert_eq!(searched(&runs).regressions().count(), 1);
    let sound = taking(40, 1.4);
    runs.push(sound);
    assert_eq!(searched(&runs).regressions().count(), 0, "the sound core is not compared with it");
}

#[test]
fn a_history_of_a_thousand_runs_is_compared_at_once() {
    let edges: Vec<String> = (0..50).map(|number| format!("edge-{number}")).collect();
    let full = |number: u64| {
        let of_edge = |edge: &String| {
            let value = 7_000.0 + (number * 37 % 101) as f64;
            [metric(edge, "rto-ms", value), metric(edge, "rpo-ms", value / 10.0)]
        };
        let boot = [metric("", "boot-ms", 5_000.0)];
        let metrics = boot.into_iter().chain(edges.iter().flat_map(of_edge)).collect();
        RunRecord { metrics, ..run(number) }
    };
    let runs: Vec<_> = (0..1_000).map(full).collect();
    let writing = Instant::now();
    let (_keep, history) = history(&runs);
    let writing = writing.elapsed();
    let comparing = Instant::now();
    let comparison = compare(&history, "run-0999", &Against::EarlierRuns, USUAL_LAST).unwrap();
    let text = lines(&comparison) + &table(&comparison);
    let comparing = comparing.elapsed();
    println!("{} series compared in {comparing:?}, written in {writing:?}", comparison.judged.len());
    assert!(text.contains("999 earlier comparable runs") && comparison.judged.len() == 102);
    // It takes below a second on a host that does nothing else; a fixed limit would depend on the
    // host.
    assert!(comparing < writing / 2, "{comparing:?} beside {writing:?}");
}
