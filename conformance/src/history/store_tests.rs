//! The file survives what happens to files.

use camino::Utf8Path;

use super::super::record::{Metric, RunRecord, ScenarioRecord, fingerprint};
use super::super::usual::usual;
use super::super::{export, list, show};
use super::*;
use crate::outcome::{HostFacts, Verdict};

/// A directory, and the place of a history in it.
pub(in crate::history) fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
    let keep = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(keep.path()).unwrap().join("history.sqlite");
    (keep, path)
}

/// A run whose number decides its times.
pub(in crate::history) fn run(number: u64) -> RunRecord {
    let host = HostFacts { cores: 2, accelerator: "TCG".into(), ..HostFacts::default() };
    let metric = |name: &str, value| Metric {
        scenario: "vmware-azure".into(),
        edge: "failover".into(),
        name: name.into(),
        value,
    };
    RunRecord {
        run: format!("run-{number:04}"),
        began: format!("2026-01-02T03:{:02}:{:02}Z", number / 60, number % 60),
        verdict: Verdict::Pass,
        suite: "roundtrip 0".into(),
        core: "built-in 0".into(),
        mutant: None,
        profile: "asr-2019".into(),
        fingerprint: fingerprint(&host),
        host,
        command: String::new(),
        options: String::new(),
        scenarios: vec![ScenarioRecord {
            name: "vmware-azure".into(),
            verdict: Verdict::Pass,
            ms: 1_000 + number,
            core: "built-in 0".into(),
            fingerprint: String::new(),
        }],
        metrics: vec![metric("rto-ms", 400.0 + number as f64), metric("step-ms boot", 70.0 + number as f64)],
    }
}

/// The same as a list shows it.
pub(in crate::history) fn listed(number: u64) -> RunRecord {
    RunRecord { metrics: vec![], ..run(number) }
}

#[test]
fn two_runs_in_directories_of_one_name_are_two_runs() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    let later = RunRecord { run: run(1).run, ..run(2) };
    assert_eq!(history.add(&run(1)).unwrap(), "run-0001");
    for _ in 0..2 {
        assert_eq!(history.add(&later).unwrap(), "run-0001@2026-01-02T03:00:02Z");
    }
    assert_eq!(history.add(&run(1)).unwrap(), "run-0001", "a report of the first one is written again");
    let listed: Vec<_> = history.runs().unwrap().into_iter().map(|run| run.began).collect();
    assert_eq!(listed, [run(1).began, run(2).began]);
}

#[test]
fn what_was_added_is_read_and_a_run_that_is_added_again_is_replaced() {
    let (_keep, path) = scratch();
    assert!(History::read(&path).unwrap().is_none(), "there is no file yet");
    let mut history = History::open(&path).unwrap();
    history.add(&run(2)).unwrap();
    history.add(&run(1)).unwrap();
    let changed = RunRecord { verdict: Verdict::Fail, ..run(2) };
    history.add(&changed).unwrap();
    let reopened = History::read(&path).unwrap().unwrap();
    assert_eq!(reopened.runs().unwrap(), [listed(1), RunRecord { metrics: vec![], ..changed.clone() }]);
    assert_eq!(reopened.run("run-0002").unwrap(), changed);
    assert!(matches!(reopened.run("run-9"), Err(HistoryError::NoSuchRun { .. })));
    assert_eq!(reopened.measured(&reopened.runs().unwrap()).unwrap().len(), 2);
    let text = [list(&[run(1)]), show(&run(1)), export(&run(1)).unwrap()];
    assert!(text.iter().all(|text| text.contains("run-0001")), "{text:?}");
}

#[test]
fn concurrent_writers_lose_nothing() {
    let (_keep, path) = scratch();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..5 {
                    History::open(path).unwrap().add(&run(writer * 5 + number)).unwrap();
                }
            });
        }
    });
    let runs = History::read(&path).unwrap().unwrap().runs().unwrap();
    assert_eq!(runs, (0..40).map(listed).collect::<Vec<_>>());
}

#[test]
fn a_writer_that_is_killed_half_way_leaves_what_was_there_before() {
    let (_keep, path) = scratch();
    History::open(&path).unwrap().add(&run(1)).unwrap();
    // What a kill leaves: a journal, and pages of the file that were written already. A cache of
    // one page makes SQLite write before the end of the transaction.
    let killed = Connection::open(&path).unwrap();
    killed.execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE; DELETE FROM runs;").unwrap();
    for number in 0..2_000 {
        let values = params![format!("x{number}"), "now", "f", "{}".repeat(50)];
        killed
            .execute("INSERT INTO runs (run, began, fingerprint, record) VALUES (?1, ?2, ?3, ?4)", values)
            .unwrap();
    }
    let crashed = path.with_file_name("crashed.sqlite");
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::copy(format!("{path}-journal"), format!("{crashed}-journal")).unwrap();
    assert_ne!(std::fs::metadata(&crashed).unwrap().len(), 0);
    let mut history = History::open(&crashed).unwrap();
    assert_eq!(history.runs().unwrap(), [listed(1)]);
    assert_eq!(history.run("run-0001").unwrap(), run(1));
    history.add(&run(2)).unwrap();
    assert_eq!(history.runs().unwrap().len(), 2);
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    let (_keep, path) = scratch();
    let garbage = b"this is no database, but a text that is long enough to look at".repeat(20);
    std::fs::write(&path, &garbage).unwrap();
    let error = History::open(&path).unwrap_err();
    assert!(matches!(error, HistoryError::Damaged { .. }), "{error}");
    assert!(!error.to_string().contains('\n') && error.to_string().contains(path.as_str()));
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}

#[test]
fn another_database_and_a_newer_history_are_left_as_they_are() {
    let (_keep, path) = scratch();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(matches!(History::open(&path), Err(HistoryError::Damaged { .. })));
    drop(other);
    std::fs::remove_file(&path).unwrap();
    History::open(&path).unwrap().add(&run(1)).unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = History::open(&path).unwrap_err();
    assert!(matches!(error, HistoryError::Newer { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn the_usual_duration_is_that_of_the_last_runs_on_this_host() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    (0..21).for_each(|number| drop(history.add(&run(number)).unwrap()));
    history.add(&RunRecord { fingerprint: "other".into(), ..run(99) }).unwrap();
    let usual = usual(&history, &run(1).fingerprint).unwrap();
    assert_eq!(usual.runs, 10);
    assert_eq!(usual.scenarios["vmware-azure"], 1_015);
    assert_eq!(usual.steps["vmware-azure"]["failover · boot"], 85);
}

#[test]
fn runs_of_many_cycles_or_of_single_rules_are_not_usual() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    (0..3).for_each(|number| drop(history.add(&run(number)).unwrap()));
    for number in 10..30 {
        let options = if number % 2 == 0 { "--cycles 100" } else { "--rule FO-04" };
        history.add(&RunRecord { options: options.into(), ..run(number) }).unwrap();
    }
    let usual = usual(&history, &run(1).fingerprint).unwrap();
    assert_eq!((usual.runs, usual.scenarios["vmware-azure"]), (3, 1_001));
    assert_eq!(usual.steps["vmware-azure"]["failover · boot"], 71);
}

#[test]
fn what_a_shard_took_on_another_host_is_not_usual_here() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    history.add(&run(1)).unwrap();
    for number in 2..7 {
        let mut merged = run(number * 100);
        merged.scenarios[0].fingerprint = "another".into();
        history.add(&merged).unwrap();
    }
    let usual = usual(&history, &run(1).fingerprint).unwrap();
    assert_eq!(usual.scenarios["vmware-azure"], 1_001);
    assert_eq!(usual.steps["vmware-azure"]["failover · boot"], 71);
}
