//! Series of histories that are made up.

use super::*;
use crate::history::{ScenarioRecord, UNKNOWN_HOST, fingerprint};
use crate::outcome::HostFacts;

/// The scenario of [`run`].
const SCENARIO: &str = "vmware-azure";

/// A run whose number decides when it began, without metrics.
pub(in crate::regressions) fn run(number: u64) -> RunRecord {
    let host = HostFacts { cores: 2, accelerator: "TCG".into(), qemu: "10.0".into(), ..HostFacts::default() };
    RunRecord {
        run: format!("run-{number:04}"),
        began: format!("2026-01-{:02}T03:{:02}:00Z", 1 + number / 60, number % 60),
        verdict: Verdict::Pass,
        suite: "roundtrip 0.1.0".into(),
        core: "built-in 0.1.0".into(),
        mutant: None,
        profile: "asr-2019".into(),
        fingerprint: fingerprint(&host),
        host,
        command: "cargo xtask conformance".into(),
        options: String::new(),
        scenarios: vec![ScenarioRecord {
            name: SCENARIO.into(),
            verdict: Verdict::Pass,
            ms: 60_000,
            core: "built-in 0.1.0".into(),
            fingerprint: String::new(),
        }],
        metrics: Vec::new(),
    }
}

/// A value that was measured at an edge of [`run`].
pub(in crate::regressions) fn metric(edge: &str, name: &str, value: f64) -> Metric {
    Metric { scenario: SCENARIO.into(), edge: edge.into(), name: name.into(), value }
}

/// The series of runs with these metrics, by place and measure.
fn of(runs: &[RunRecord]) -> Vec<(String, &'static str, Vec<f64>)> {
    let metrics: Vec<_> = runs
        .iter()
        .enumerate()
        .flat_map(|(index, run)| run.metrics.iter().map(move |metric| (index, metric.clone())))
        .collect();
    let value = |series: &Series| series.numbers().into_iter().map(|n| series.measure.value(n)).collect();
    series(runs, &metrics, 3)
        .iter()
        .map(|series| (series.place(), series.measure.key, value(series)))
        .collect()
}

fn with(number: u64, metrics: &[Metric]) -> RunRecord {
    RunRecord { metrics: metrics.to_vec(), ..run(number) }
}

fn rounded(series: &[(String, &'static str, Vec<f64>)]) -> Vec<(String, &'static str, Vec<String>)> {
    let round = |values: &Vec<f64>| values.iter().map(|value| format!("{value:.3}")).collect();
    series.iter().map(|(place, key, values)| (place.clone(), *key, round(values))).collect()
}

#[test]
fn each_edge_and_measure_is_a_series_with_one_value_a_run() {
    let boot = metric("", "boot-ms", 5_000.0);
    let second_boot = metric("", "boot-ms", 9_000.0);
    let failover = |ms| metric("failover", "rto-ms", ms);
    let runs = [
        with(1, &[boot.clone(), second_boot, failover(7_000.0), metric("failover", "rpo-ms", 0.0)]),
        with(2, &[boot.clone(), failover(7_500.0), failover(8_500.0), failover(6_000.0)]),
    ];
    let wanted = |place: &str, key, values: &[&str]| {
        (format!("vmware-azure · {place}"), key, values.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        rounded(&of(&runs)),
        [wanted("failover", "rpo", &["0.000"]), wanted("failover", "rto", &["1.400", "1.500"])]
    );
}

#[test]
fn a_recovery_time_is_compared_beside_its_own_boot() {
    let boot = metric("", "boot-ms", 5_000.0);
    let recovery = |ms, boot| [metric("failover", "rto-ms", ms), metric("failover", "guest-boot-ms", boot)];
    let metrics = [&[boot], &recovery(12_000.0, 10_000.0)[..], &recovery(16_000.0, 10_000.0)].concat();
    let found = rounded(&of(&[with(1, &metrics)]));
    assert_eq!(found[0].1, "recovery");
    assert_eq!((&found[0].2[0][..], &found[1].2[0][..]), ("1.400", "2.800"));
}

#[test]
fn the_slowdown_of_guests_is_that_by_replication() {
    let slowdown = |on: &str, ratio| metric("", &format!("slowdown-ratio depth 1{on}"), ratio);
    let all = [slowdown("", 1.0), slowdown(", log", 0.5), slowdown(", replication", 0.8)];
    let metrics = [&[metric("", "boot-ms", 5_000.0)], &all[..]].concat();
    let found = rounded(&of(&[with(1, &metrics)]));
    let place = "vmware-azure · depth 1, replication".to_owned();
    assert_eq!(found, [(place, "slowdown", vec!["1.250".to_owned()])]);
}

#[test]
fn a_missing_value_is_left_out_and_the_newest_are_kept() {
    let boot = metric("", "boot-ms", 5_000.0);
    let at = |number, ms| with(number, &[boot.clone(), metric("failover", "rto-ms", ms)]);
    let runs =
        [at(1, 5_000.0), at(2, 10_000.0), at(3, f64::NAN), at(4, 0.0), at(5, 15_000.0), at(6, 20_000.0)];
    assert_eq!(rounded(&of(&runs))[0].2, ["2.000", "3.000", "4.000"]);
}

#[test]
fn what_did_not_pass_is_simulated_or_of_another_core_or_host_does_not_count() {
    let metrics = [metric("", "boot-ms", 5_000.0), metric("failover", "rto-ms", 5_000.0)];
    let passed = with(1, &metrics);
    let changed = |change: fn(&mut ScenarioRecord)| {
        let mut run = with(2, &metrics);
        change(&mut run.scenarios[0]);
        run
    };
    let failed = changed(|scenario| scenario.verdict = Verdict::Fail);
    let other_core = changed(|scenario| scenario.core = "another 1.0".into());
    let next_version = changed(|scenario| scenario.core = "built-in 0.2.0".into());
    let without_name = changed(|scenario| scenario.core.clear());
    let other_host = changed(|scenario| scenario.fingerprint = "another".into());
    let unknown_host = changed(|scenario| scenario.fingerprint = UNKNOWN_HOST.into());
    let mut same_host = with(2, &metrics);
    same_host.scenarios[0].fingerprint.clone_from(&same_host.fingerprint);
    let simulated = with(2, &metrics[1..]);
    let counts = |runs: &[RunRecord]| of(runs).first().map_or(0, |(_, _, values)| values.len());
    assert_eq!(counts(&[failed, passed.clone()]), 1);
    assert_eq!(counts(&[other_core, passed.clone()]), 1);
    assert_eq!(counts(&[next_version, passed.clone()]), 2);
    assert_eq!(counts(&[without_name, passed.clone()]), 2);
    assert_eq!(counts(&[other_host, passed.clone()]), 1);
    assert_eq!(counts(&[same_host, passed.clone()]), 2);
    assert_eq!(counts(&[unknown_host.clone(), unknown_host]), 0);
    assert_eq!(counts(&[simulated, passed]), 1);
}
