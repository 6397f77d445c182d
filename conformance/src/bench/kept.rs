//! What the history keeps of a benchmark, and how that compares with earlier ones of the host.

use std::time::Duration;

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use super::figures::{Figure, Measured};
use crate::history::{BENCH, BenchValue, History, Metric, RunRecord, ScenarioRecord, fingerprint};
use crate::outcome::{HostFacts, Verdict};
use crate::regressions::{Comparison, NotCompared, USUAL_LAST, compare_bench, lines};
use crate::report;

/// What is said of the figures of a busy host.
const BUSY: &str = "The host was busy, so the history does not keep these figures: repeat this when nothing \
                    else runs.\n";

/// What was measured, by whom and where.
pub(super) struct About {
    /// Name of the record.
    pub(super) id: String,
    /// The command, as it was typed.
    pub(super) command: String,
    /// Name and version of the core.
    pub(super) core: String,
    /// The host.
    pub(super) host: HostFacts,
    /// When measuring began.
    pub(super) began: jiff::Timestamp,
    /// How long it took.
    pub(super) took: Duration,
}

/// Adds the figures to the history at `path` and compares them with earlier ones. Returns what to
/// say, and the exit code: 2 if a row became slower beside its reference, and 3 if the history
/// cannot be used. Figures of a busy host mean nothing and are not kept.
///
/// # Errors
/// The directory of the history cannot be made.
pub(super) fn keep(measured: &Measured, about: &About, path: &Utf8Path) -> Result<(String, u8)> {
    if measured.busy {
        return Ok((BUSY.to_owned(), report::exit_code(Verdict::Pass, false)));
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("make {dir}"))?;
    }
    let record = record(measured, about);
    Ok(match compared(&record, path) {
        Ok(comparison) => {
            let slower = comparison.regressions().next().is_some();
            let id = &record.run;
            let kept = format!("The history {path} keeps these figures as {id}.\n");
            (kept + &lines(&comparison), report::exit_code(Verdict::Pass, slower))
        }
        Err(error) => {
            let said = format!("Not compared with earlier figures: {error}\n");
            (said, report::exit_code(Verdict::Unknown, false))
        }
    })
}

fn compared(record: &RunRecord, path: &Utf8Path) -> Result<Comparison, NotCompared> {
    let mut history = History::open(path)?;
    history.add_bench(record)?;
    compare_bench(&history, &record.run, USUAL_LAST)
}

/// The figures as the history keeps them.
fn record(measured: &Measured, about: &About) -> RunRecord {
    let About { id, command, core, host, began, took } = about;
    let scenario = ScenarioRecord {
        name: BENCH.to_owned(),
        verdict: Verdict::Pass,
        ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        core: core.clone(),
        fingerprint: fingerprint(host),
    };
    RunRecord {
        run: id.clone(),
        began: began.to_string(),
        verdict: Verdict::Pass,
        suite: report::suite(),
        core: core.clone(),
        mutant: None,
        // Nothing is judged by external facts.
        profile: String::new(),
        fingerprint: fingerprint(host),
        host: host.clone(),
        command: command.clone(),
        options: String::new(),
        scenarios: vec![scenario],
        metrics: measured.figures.iter().flat_map(metrics).collect(),
    }
}

/// What is kept of a row: the ratio, which is compared, and both times, which tell whether ours or
/// the reference's changed.
fn metrics(figure: &Figure) -> impl Iterator<Item = Metric> {
    let Figure { row, ours, reference, ratio } = figure;
    let value = move |what: BenchValue| match what {
        BenchValue::Ratio => ratio.median,
        BenchValue::Ours => ours.median * 1000.0,
        BenchValue::Reference => reference.median * 1000.0,
    };
    BenchValue::ALL.into_iter().filter_map(move |what| what.of(row, value(what)))
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
