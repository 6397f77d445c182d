//! The command `report`: writes the reports of a run, adds it to the history, and compares it with
//! earlier runs.

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use crate::foreign_files;
use crate::history::{FILE, History, HistoryError, RunRecord};
use crate::host_facts::noted_host;
use crate::outcome::{Division, HostFacts, Results, Verdict};
use crate::regressions::{self, Against, Comparison, NotCompared, compare, sentence};
use crate::report::{self, Detail};

/// The file of the plots, in the directory of the run.
const TREND: &str = "trend.html";

/// What to compare a run with.
#[derive(Clone, Debug)]
pub struct Comparing {
    /// The earlier runs.
    pub against: Against,
    /// How many values of each series to look at.
    pub last: usize,
    /// Whether to plot each series.
    pub trend: bool,
}

/// Writes the reports of the run in `dir`, prints its summary and returns its exit code.
///
/// A comparison that was asked for and could not be made is no pass: the code is then 3, unless the
/// core broke a rule. A young history without enough runs is not judged, which a line says, and
/// does not change the code unless a baseline was named.
///
/// # Errors
/// There is nothing to report, or the reports cannot be written.
pub fn run(
    dir: &Utf8Path,
    detail: Detail,
    history: Option<&Utf8Path>,
    comparing: Option<&Comparing>,
) -> Result<u8> {
    let mut results = report::load(dir, || host_of(dir))?;
    if matches!(results.division, Division::Shard(_)) {
        return report_shard(dir, &results, detail, comparing.is_some());
    }
    let beside = dir.parent().unwrap_or(dir).join(FILE);
    let history = add(history.unwrap_or(&beside), &results, dir);
    let compared = match (history, comparing) {
        (Ok((history, run)), Some(ask)) => Some(compare(&history, &run, &ask.against, ask.last)),
        (Err(error), Some(_)) => Some(Err(error.into())),
        (Err(error), None) => {
            // The run and its reports are complete without it.
            eprintln!("{error}");
            None
        }
        (Ok(_), None) => None,
    };
    if let Some(Ok(comparison)) = &compared {
        let worse = comparison.regressions().filter_map(|judged| sentence(comparison, judged));
        results.regressions = worse.collect();
    }
    report::write(dir, &results)?;
    print!("{}", report::summary(&results, dir, detail));
    let code = report::exit_code(results.verdict, results.slow().next().is_some());
    let Some((compared, ask)) = compared.zip(comparing) else { return Ok(code) };
    let said = say(&compared, detail);
    if let (Ok(comparison), true) = (&compared, ask.trend) {
        let path = dir.join(TREND);
        foreign_files::replace(&path, report::trend(comparison).as_bytes())
            .with_context(|| format!("write {path}"))?;
        println!("   plots {path}");
    }
    let must_judge = ask.against != Against::EarlierRuns;
    Ok(if said.is_answer(must_judge) { code } else { without_answer(code, results.verdict) })
}

/// The host of the run in `dir`: of merged shards, what they say, and else what the run noted. One
/// that noted nothing may have been made elsewhere, so that this host says nothing about it.
fn host_of(dir: &Utf8Path) -> Result<HostFacts> {
    match Division::of_run(dir)? {
        Division::Merged(merged) => Ok(merged.host()),
        Division::Whole | Division::Shard(_) => Ok(noted_host(dir)?.unwrap_or_else(HostFacts::unknown)),
    }
}

/// Writes the reports of a shard. It is no run of the history: the whole run is added once its
/// shards are merged. Until then all of them find the same history, by which they are divided.
fn report_shard(dir: &Utf8Path, results: &Results, detail: Detail, compare: bool) -> Result<u8> {
    report::write(dir, results)?;
    print!("{}", report::summary(results, dir, detail));
    if compare {
        println!("   a shard is not compared with earlier runs: merge it with the others first");
    }
    Ok(report::exit_code(results.verdict, results.slow().next().is_some()))
}

/// Adds the run to a history, and returns that with the run's id in it.
fn add(path: &Utf8Path, results: &Results, dir: &Utf8Path) -> Result<(History, String), HistoryError> {
    let mut history = History::open(path)?;
    let run = history.add(&RunRecord::of(results, dir))?;
    Ok((history, run))
}

/// Whether a comparison was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Series were judged.
    Judged,
    /// There are too few runs.
    TooFew,
    /// The history or the baseline cannot be used.
    Nothing,
}

impl Said {
    fn is_answer(self, must_judge: bool) -> bool {
        match self {
            Self::Judged => true,
            Self::TooFew => !must_judge,
            Self::Nothing => false,
        }
    }
}

/// Prints a comparison, or why there is none.
fn say(compared: &Result<Comparison, NotCompared>, detail: Detail) -> Said {
    match compared {
        Ok(comparison) => {
            print!("{}", regressions::lines(comparison));
            if detail == Detail::Tables {
                print!("\n{}", regressions::table(comparison));
            }
            if comparison.is_judged() { Said::Judged } else { Said::TooFew }
        }
        Err(error) => {
            eprintln!("\nNot compared with earlier runs: {error}");
            Said::Nothing
        }
    }
}

/// The exit code if the comparison that was asked for could not be made.
fn without_answer(code: u8, verdict: Verdict) -> u8 {
    if verdict == Verdict::Fail { code } else { report::exit_code(Verdict::Unknown, false) }
}

#[cfg(test)]
#[path = "report_command_tests.rs"]
mod tests;
