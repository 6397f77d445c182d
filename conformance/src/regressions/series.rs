//! The values of comparable runs: one series for each edge of a scenario and each measure.

use std::collections::{BTreeMap, BTreeSet};

use statistics::median;

use super::comparable::core_name;
use super::measure::{Measure, Scale};
use crate::history::{BenchValue, Metric, RunRecord};
use crate::outcome::Verdict;

/// A value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The run: its index in the list of runs that are compared.
    pub run: usize,
    /// The number that is compared ([`Measure::compared`]).
    pub compared: f64,
}

/// The values of one measure, the oldest first.
#[derive(Clone, Debug)]
pub struct Series {
    /// The scenario; empty if the series is about all of them.
    pub scenario: String,
    /// The edge, or what else was measured in the scenario.
    pub edge: String,
    /// What was measured.
    pub measure: &'static Measure,
    /// One value for each run that has one.
    pub points: Vec<Point>,
}

impl Series {
    /// The scenario and the edge.
    #[must_use]
    pub fn place(&self) -> String {
        match (self.scenario.as_str(), self.edge.as_str()) {
            ("", _) => format!("all {} together", self.measure.places),
            (scenario, "") => scenario.to_owned(),
            (scenario, edge) => format!("{scenario} · {edge}"),
        }
    }

    /// A number that is compared, as a value with its unit.
    #[must_use]
    pub fn show(&self, compared: f64) -> String {
        let unit = if self.is_pooled() { " × what is usual" } else { self.measure.unit };
        self.figure(compared) + unit
    }

    /// A number that is compared, as a value without its unit.
    #[must_use]
    pub fn figure(&self, compared: f64) -> String {
        let value = self.measure.value(compared);
        if self.is_pooled() { format!("{value:.3}") } else { self.measure.figure(value) }
    }

    /// Whether it is about all edges together. Its values are multiples of what is usual.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.scenario.is_empty()
    }

    /// The smallest rise that matters, if the numbers usually are `level`.
    #[must_use]
    pub fn least_rise(&self, level: f64) -> f64 {
        let least = self.measure.least_rise(level);
        let shares = self.is_pooled() && self.measure.scale == Scale::Difference;
        if shares { self.measure.least_share } else { least }
    }

    /// The numbers that are compared.
    #[must_use]
    pub fn numbers(&self) -> Vec<f64> {
        self.points.iter().map(|point| point.compared).collect()
    }
}

/// A measured value of a scenario: the key of its measure, the edge, and the value.
type Found = (&'static str, String, f64);

/// The series of `runs`, the last of which is the one that is judged; `metrics` are theirs, each
/// with the index of its run. Only scenarios that passed count, with the core and on the host that
/// they have in the last run, and the newest `last` values of each series.
pub(super) fn series(runs: &[RunRecord], metrics: &[(usize, Metric)], last: usize) -> Vec<Series> {
    let Some(judged) = runs.last() else { return Vec::new() };
    let mut of_scenario: BTreeMap<(usize, &str), Vec<&Metric>> = BTreeMap::new();
    for (run, metric) in metrics {
        of_scenario.entry((*run, metric.scenario.as_str())).or_default().push(metric);
    }
    let mut series: BTreeMap<(&str, String, &'static str), Vec<Point>> = BTreeMap::new();
    for ((run, scenario), metrics) in of_scenario {
        let measured = passed_with(judged, scenario);
        if measured.is_none() || measured != passed_with(&runs[run], scenario) {
            continue;
        }
        for ((key, edge), values) in grouped(found(&metrics)) {
            let compared = Measure::find(key).and_then(|measure| measure.compared(median(&values)));
            let points = series.entry((scenario, edge, key)).or_default();
            points.extend(compared.map(|compared| Point { run, compared }));
        }
    }
    let all = series.into_iter().filter_map(|((scenario, edge, key), mut points)| {
        points.drain(..points.len().saturating_sub(last));
        let measure = Measure::find(key)?;
        Some(Series { scenario: scenario.to_owned(), edge, measure, points })
    });
    all.collect()
}

/// The name of the core of a scenario that passed in a run, and the host on which it ran: shards
/// that were merged may have had several.
fn passed_with<'a>(run: &'a RunRecord, scenario: &str) -> Option<(String, &'a str)> {
    let host = run.host_of(scenario)?;
    let found = run.scenarios.iter().find(|found| found.name == scenario)?;
    // Records of older suites name the core only for the whole run.
    let core = if found.core.is_empty() { &run.core } else { &found.core };
    (found.verdict == Verdict::Pass).then(|| (core_name(core), host))
}

/// Several values for one edge, as of the machines of a group, are one value for the run.
fn grouped(found: Vec<Found>) -> BTreeMap<(&'static str, String), Vec<f64>> {
    let mut groups: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for (key, edge, value) in found {
        groups.entry((key, edge)).or_default().push(value);
    }
    groups
}

/// What is compared of the metrics of one scenario in one run. Simulated guests have no boot to
/// compare with, and what is simulated is no measurement. A row of the benchmark has its reference.
fn found(metrics: &[&Metric]) -> Vec<Found> {
    let mut all: Vec<Found> = metrics.iter().filter_map(|metric| bench(metric)).collect();
    let Some(boot) = metrics.iter().find(|metric| metric.name == "boot-ms").map(|metric| metric.value) else {
        return all;
    };
    // The boot in a recovery time follows that time.
    let mut recovery: Option<&Metric> = None;
    for metric in metrics {
        if metric.name == "rto-ms" {
            recovery = Some(metric);
        }
        all.extend(compared(metric, boot, recovery));
    }
    all
}

/// What is compared of a row of the benchmark.
fn bench(metric: &Metric) -> Option<Found> {
    BenchValue::Ratio.row(&metric.name).map(|row| ("bench", row.to_owned(), metric.value))
}

/// What is compared of one metric. `boot` is the first boot of the scenario, `recovery` the last
/// recovery time before it.
fn compared(metric: &Metric, boot: f64, recovery: Option<&Metric>) -> Option<Found> {
    let Metric { edge, name, value, .. } = metric;
    match name.as_str() {
        // The stored multiple of a boot is rounded.
        "rto-ms" => Some(("rto", edge.clone(), value / boot)),
        "guest-boot-ms" => {
            let recovery = recovery.filter(|recovery| recovery.edge == *edge)?;
            Some(("recovery", edge.clone(), recovery.value / value))
        }
        "rpo-ms" => Some(("rpo", edge.clone(), *value)),
        "point-gap-ms" => Some(("gap", edge.clone(), *value)),
        "sent-bytes" => Some(("sent", edge.clone(), *value)),
        "delta-ratio" => Some(("delta", edge.clone(), *value)),
        name => {
            let on = name.strip_prefix("slowdown-ratio ")?;
            on.contains("replication").then(|| ("slowdown", on.to_owned(), 1.0 / value))
        }
    }
}

/// The scenarios of a run whose values cannot count, because they did not pass.
pub(super) fn not_passed(run: &RunRecord) -> BTreeSet<&str> {
    let not = run.scenarios.iter().filter(|scenario| scenario.verdict != Verdict::Pass);
    not.map(|scenario| scenario.name.as_str()).collect()
}

#[cfg(test)]
#[path = "series_tests.rs"]
pub(super) mod tests;
