//! Benchmarks go in and come out, and runs are what they would be without them.

use super::super::store::tests::{listed, run, scratch};
use super::super::{Kind, ScenarioRecord, durations, export, list, list_benches, show_bench, usual};
use super::*;
use crate::history::HistoryError;

/// A benchmark whose number decides when it began.
pub(in crate::history) fn bench(number: u64) -> RunRecord {
    let scenario = run(number).scenarios.remove(0);
    let values = [(BenchValue::Ours, 730.5), (BenchValue::Reference, 487.0), (BenchValue::Ratio, 1.5)];
    RunRecord {
        run: format!("bench-{number:04}"),
        profile: String::new(),
        scenarios: vec![ScenarioRecord { name: BENCH.to_owned(), ..scenario }],
        metrics: values.iter().filter_map(|(what, value)| what.of("first copy, dd", *value)).collect(),
        ..run(number)
    }
}

#[test]
fn what_was_measured_is_read_and_shown() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    assert_eq!(history.benches().unwrap(), []);
    history.add_bench(&bench(2)).unwrap();
    history.add_bench(&bench(1)).unwrap();
    let history = History::read(&path).unwrap().unwrap();
    assert_eq!(history.benches().unwrap(), [bench(1), bench(2)]);
    assert_eq!(history.bench("bench-0001").unwrap(), bench(1));
    assert_eq!(history.find("bench-0002").unwrap(), (Kind::Bench, bench(2)));
    let text = show_bench(&history.bench("bench-0001").unwrap());
    for wanted in ["bench-0001", "first copy, dd", "730.50", "487.00", "1.500"] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    assert!(list_benches(&history.benches().unwrap()).contains("bench-0002"));
}

#[test]
fn what_is_not_there_is_named_and_nothing_is_replaced() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    assert!(matches!(history.bench("bench-0001"), Err(HistoryError::NoSuchRun { .. })), "no table");
    history.add_bench(&bench(1)).unwrap();
    for id in ["bench-0002", "run-0001"] {
        assert!(matches!(history.find(id), Err(HistoryError::NoSuchRun { .. })), "{id}");
    }
    let other = RunRecord { core: "another".into(), ..bench(1) };
    assert!(matches!(history.add_bench(&other), Err(HistoryError::Unusable { .. })));
    assert_eq!(history.benches().unwrap(), [bench(1)]);
}

#[test]
fn what_is_no_number_is_not_kept() {
    for nothing in [f64::NAN, f64::INFINITY] {
        assert_eq!(BenchValue::Ratio.of("a row", nothing), None);
    }
    let metric = BenchValue::Ratio.of("a row", 1.5).unwrap();
    assert_eq!(metric.name, "bench-ratio a row");
    let rows = BenchValue::ALL.map(|what| what.row(&metric.name));
    assert_eq!(rows, [None, None, Some("a row")]);
}

#[test]
fn runs_are_listed_exported_and_timed_as_without_benchmarks() {
    let told = |benches: u64| {
        let (_keep, path) = scratch();
        let mut history = History::open(&path).unwrap();
        for number in 0..12 {
            history.add(&run(number)).unwrap();
        }
        for number in 0..benches {
            history.add_bench(&bench(number)).unwrap();
        }
        let runs = history.runs().unwrap();
        assert_eq!(runs, (0..12).map(listed).collect::<Vec<_>>());
        let exported: String = runs.iter().map(|run| export(run).unwrap()).collect();
        let usual = usual(&history, &run(1).fingerprint).unwrap();
        (list(&runs), exported, usual, durations(&history).unwrap())
    };
    assert_eq!(told(20), told(0));
}
