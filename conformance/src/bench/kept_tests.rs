//! Figures that get slower, stay level, are of a busy host, or have no history.

use camino::Utf8PathBuf;

use super::super::figures::Spread;
use super::*;
use crate::history::{Kind, show_bench};

/// Where a history can be, in a directory that is not there yet.
fn place() -> (tempfile::TempDir, Utf8PathBuf) {
    let keep = tempfile::tempdir_in(simulator::testbed::MEMORY).unwrap();
    let path = Utf8Path::from_path(keep.path()).unwrap().join("runs/history.sqlite");
    (keep, path)
}

/// Figures of two rows, of which our time is so many times the reference's.
fn measured(ratios: [f64; 2], busy: bool) -> Measured {
    let spread = |median: f64| Spread { median, least: median * 0.9, most: median * 1.1 };
    let rows = ["oracle, dense, 1 GiB", "first copy, dd"].into_iter().zip(ratios);
    let figures = rows.map(|(row, ratio)| Figure {
        row: row.to_owned(),
        ours: spread(2.0 * ratio),
        reference: spread(2.0),
        ratio: spread(ratio),
    });
    Measured { host: "a host".into(), rounds: 5, busy, figures: figures.collect() }
}

fn about(number: i64) -> About {
    About {
        id: format!("bench-{number:02}"),
        command: "cargo xtask bench".into(),
        core: "built-in 0.1.0".into(),
        host: HostFacts { cores: 2, ..HostFacts::default() },
        began: jiff::Timestamp::from_second(1_700_000_000 + 86_400 * number).unwrap(),
        took: Duration::from_secs(300),
    }
}

/// What is said of the last of 40 benchmarks, give or take 2 %. The last 10 copy at another ratio.
fn after_a_step(path: &Utf8Path, ratio: f64) -> (String, u8) {
    let mut last = None;
    for number in 0..40_i64 {
        let spread = 1.0 + 0.01 * [0.0, 2.0, -1.0, 1.0, -2.0][number as usize % 5];
        let copy = if number < 30 { 1.2 } else { ratio };
        last = Some(keep(&measured([2.0 * spread, copy * spread], false), &about(number), path).unwrap());
    }
    last.unwrap()
}

#[test]
fn a_row_that_became_slower_is_named_with_its_first_benchmark_and_the_code_is_2() {
    let (_keep, path) = place();
    let (said, code) = after_a_step(&path, 1.5);
    assert_eq!(code, 2, "{said}");
    let worse: Vec<_> = said.lines().filter(|line| line.contains("REGRESSION")).collect();
    assert_eq!(worse.len(), 1, "{said}");
    for wanted in [
        "bench · first copy, dd: time beside its reference from 1.200 to 1.500 × the reference's",
        "30 runs before, 10 since bench-30 of 2023-12-",
    ] {
        assert!(worse[0].contains(wanted), "{wanted} is missing in {said}");
    }
}

#[test]
fn level_rows_faster_ones_and_small_rises_are_no_regression() {
    for (ratio, wanted) in [(1.2, "2 series did not change"), (1.0, "↑ better"), (1.27, "did not change")] {
        let (_keep, path) = place();
        let (said, code) = after_a_step(&path, ratio);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(wanted) && !said.contains("REGRESSION"), "{said}");
    }
}

#[test]
fn a_step_that_was_accepted_is_no_regression() {
    let (_keep, path) = place();
    assert_eq!(after_a_step(&path, 1.5).1, 2);
    let mut history = History::open(&path).unwrap();
    history.accept("bench-35").unwrap();
    let (said, code) = keep(&measured([2.0, 1.5], false), &about(40), &path).unwrap();
    assert!(code == 0 && said.contains("accepted  bench · first copy, dd"), "{said}");
}

#[test]
fn the_first_figures_are_kept_with_their_times_and_not_judged() {
    let (_keep, path) = place();
    let (said, code) = keep(&measured([2.0, 1.2], false), &about(1), &path).unwrap();
    assert!(code == 0 && said.contains("NOT JUDGED") && said.contains("bench-01"), "{said}");
    let history = History::read(&path).unwrap().unwrap();
    let (kind, record) = history.find("bench-01").unwrap();
    assert_eq!((kind, record.metrics.len()), (Kind::Bench, 6));
    let text = show_bench(&record);
    let row = text.lines().find(|line| line.contains("first copy, dd")).unwrap();
    let cells: Vec<_> = row.split_whitespace().skip(3).collect();
    assert_eq!(cells, ["2400.00", "2000.00", "1.200"], "{text}");
    assert_eq!(history.runs().unwrap(), [], "it is no run of scenarios");
}

#[test]
fn figures_of_a_busy_host_are_not_kept() {
    let (_keep, path) = place();
    let (said, code) = keep(&measured([2.0, 1.2], true), &about(1), &path).unwrap();
    assert!(code == 0 && said.contains("busy"), "{said}");
    assert!(!path.exists());
}

#[test]
fn a_history_that_cannot_be_used_is_no_pass_and_left_as_it_is() {
    let (_keep, path) = place();
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let garbage = b"this is no database, but a text that is long enough".repeat(20);
    std::fs::write(&path, &garbage).unwrap();
    let (said, code) = keep(&measured([2.0, 1.2], false), &about(1), &path).unwrap();
    assert!(code == 3 && said.contains("damaged"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}

#[test]
fn figures_of_other_hosts_and_of_another_disk_are_other_series() {
    let (_keep, path) = place();
    after_a_step(&path, 1.2);
    let slower = measured([2.0, 1.9], false);
    let host = HostFacts { cores: 64, ..HostFacts::default() };
    let command = "cargo xtask bench --dir /mnt/fast".to_owned();
    for other in [About { host, ..about(50) }, About { command, ..about(51) }] {
        let (said, code) = keep(&slower, &other, &path).unwrap();
        assert!(code == 0 && said.contains("NOT JUDGED"), "{said}");
    }
}
