//! Runs of scenarios and of the benchmark are accepted and deleted each by themselves.

use super::super::benches::tests::bench;
use super::super::store::tests::{listed, run, scratch};
use super::*;

#[test]
fn changes_are_accepted_up_to_a_run_which_may_be_deleted() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    (0..5).for_each(|number| drop(history.add(&run(number)).unwrap()));
    assert!(history.accepted(Kind::Run).unwrap().is_empty());
    assert!(matches!(history.accept("run-9"), Err(HistoryError::NoSuchRun { .. })));
    history.accept("run-0003").unwrap();
    history.accept("run-0001").unwrap();
    history.accept("run-0001").unwrap();
    history.prune(1).unwrap();
    let history = History::read(&path).unwrap().unwrap();
    let accepted = history.accepted(Kind::Run).unwrap();
    assert_eq!(accepted.len(), 2);
    assert!([1, 3].iter().all(|number| accepted.iter().any(|accepted| accepted.is(&run(*number)))));
    assert!(history.accepted(Kind::Bench).unwrap().is_empty());
}

#[test]
fn a_benchmark_that_is_accepted_says_nothing_about_runs() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    history.add_bench(&bench(1)).unwrap();
    history.accept("bench-0001").unwrap();
    assert!(history.accepted(Kind::Bench).unwrap().iter().all(|accepted| accepted.is(&bench(1))));
    assert_eq!(history.accepted(Kind::Bench).unwrap().len(), 1);
    assert!(history.accepted(Kind::Run).unwrap().is_empty());
}

#[test]
fn the_newest_runs_are_kept() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    (0..5).for_each(|number| drop(history.add(&run(number)).unwrap()));
    assert_eq!(history.prune(2).unwrap(), Pruned { runs: 3, benches: 0 });
    assert_eq!(history.runs().unwrap(), [listed(3), listed(4)]);
    let metrics = "SELECT count(*) FROM metrics WHERE name = 'rto-ms'";
    let count: i64 = history.connection.query_row(metrics, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2, "metrics go too");
}

#[test]
fn newer_benchmarks_take_no_place_from_runs() {
    let (_keep, path) = scratch();
    let mut history = History::open(&path).unwrap();
    (0..3).for_each(|number| drop(history.add(&run(number)).unwrap()));
    (10..15).for_each(|number| history.add_bench(&bench(number)).unwrap());
    assert_eq!(history.prune(2).unwrap(), Pruned { runs: 1, benches: 3 });
    assert_eq!(history.runs().unwrap(), [listed(1), listed(2)]);
    assert_eq!(history.benches().unwrap(), [bench(13), bench(14)]);
}
