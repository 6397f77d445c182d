//! Runs of the history, as text for people and as JSON for programs.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use contract::Millis;

use super::benches::BenchValue;
use super::record::{Metric, RunRecord};
use crate::outcome::Verdict;

/// One line for each run, the newest last.
#[must_use]
pub fn list(runs: &[RunRecord]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["run", "verdict", "core", "host", "accelerator", "scenarios", "took"]);
    for run in runs {
        let took: u64 = run.scenarios.iter().map(|scenario| scenario.ms).sum();
        let passed = run.scenarios.iter().filter(|scenario| scenario.verdict == Verdict::Pass).count();
        let mutant = run.mutant.iter().map(|mutant| format!(" + {mutant}"));
        table.add_row([
            run.run.clone(),
            word(run.verdict).to_owned(),
            [run.core.clone()].into_iter().chain(mutant).collect(),
            run.fingerprint.clone(),
            run.host.accelerator.clone(),
            format!("{passed} of {} passed", run.scenarios.len()),
            Millis(took).to_string(),
        ]);
    }
    if let Some(column) = table.column_mut(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n", table.trim_fmt())
}

/// One line for each benchmark, the newest last.
#[must_use]
pub fn list_benches(benches: &[RunRecord]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["benchmark", "core", "host", "rows"]);
    for bench in benches {
        let rows = rows(bench).count().to_string();
        table.add_row([bench.run.clone(), bench.core.clone(), bench.fingerprint.clone(), rows]);
    }
    format!("{}\n", table.trim_fmt())
}

/// The rows of a benchmark, in the order in which they were measured.
fn rows(bench: &RunRecord) -> impl Iterator<Item = &str> {
    bench.metrics.iter().filter_map(|metric| BenchValue::Ratio.row(&metric.name))
}

/// A benchmark with the times of each row and their ratio.
#[must_use]
pub fn show_bench(bench: &RunRecord) -> String {
    let RunRecord { run: id, began, suite, core, .. } = bench;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["row", "ours (ms)", "reference (ms)", "ours / reference"]);
    for row in rows(bench) {
        let value = |what: BenchValue, digits: usize| {
            let metric = bench.metrics.iter().find(|metric| what.row(&metric.name) == Some(row));
            metric.map(|metric| format!("{:.digits$}", metric.value)).unwrap_or_default()
        };
        let cells =
            [value(BenchValue::Ours, 2), value(BenchValue::Reference, 2), value(BenchValue::Ratio, 3)];
        table.add_row([row.to_owned()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let head = format!("benchmark {id}, began {began}\n  {suite}, core {core}\n");
    format!("{head}{}\n{}\n", origin(bench), table.trim_fmt())
}

/// The host of a run and its command.
fn origin(run: &RunRecord) -> String {
    let RunRecord { fingerprint, host, command, .. } = run;
    let mut text = format!(
        "  host {fingerprint}: {} cores, Linux {}, QEMU {}, libvirt {}, {}\n",
        host.cores, host.kernel, host.qemu, host.libvirt, host.accelerator
    );
    if !command.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {command}");
    }
    text
}

/// A run with its scenarios and what was measured.
#[must_use]
pub fn show(run: &RunRecord) -> String {
    let RunRecord { run: id, began, verdict, suite, core, profile, .. } = run;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "run {id}, began {began}: {}", word(*verdict));
    let _ = writeln!(text, "  {suite}, core {core}, profile {profile}");
    text.push_str(&origin(run));
    for scenario in &run.scenarios {
        let _ = writeln!(text, "\n{} {} ({})", word(scenario.verdict), scenario.name, Millis(scenario.ms));
        let of_scenario =
            |metric: &&Metric| metric.scenario == scenario.name && !metric.name.starts_with("step-ms");
        for Metric { edge, name, value, .. } in run.metrics.iter().filter(of_scenario) {
            let _ = writeln!(text, "  {edge:<20} {name:<16} {value}");
        }
    }
    text
}

/// A run as one line of JSON.
///
/// # Errors
/// A record cannot be written as JSON, which cannot happen.
pub fn export(run: &RunRecord) -> serde_json::Result<String> {
    Ok(serde_json::to_string(run)? + "\n")
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
        Verdict::Skipped => "skipped",
    }
}
