//! All series of a run, compared with earlier runs.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::comparable::{accepts, are_hosts_alike, is_comparable};
use super::judge::{Judged, State, against, search};
use super::pooled::pooled;
use super::series::{Series, not_passed, series};
use crate::history::{AcceptedRun, History, HistoryError, Kind, Metric, RunRecord};

/// The highest probability of a false alarm of any series in the report of one run.
pub const NIGHT_ALPHA: f64 = 0.01;
/// How many values of a series are looked at, unless another number is asked for.
pub const USUAL_LAST: usize = 100;

/// What a run is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Against {
    /// The runs before it: changes are searched.
    EarlierRuns,
    /// The runs up to this one, which those after it are compared with.
    Run(String),
    /// The runs in this file, as `history export` prints them.
    Baseline(Utf8PathBuf),
}

impl Against {
    /// The baseline of this name: a file, or else the id of a run.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let path = Utf8Path::new(name);
        if path.is_file() { Self::Baseline(path.to_owned()) } else { Self::Run(name.to_owned()) }
    }
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum NotCompared {
    /// The history cannot be used.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The baseline cannot be read.
    #[error("The baseline {path} cannot be read ({why}): `cargo xtask history export` writes one.")]
    Baseline {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The baseline has no run that can be compared with the judged one.
    #[error(
        "No run of {baseline} can be compared with {run}: they ran on other hosts, under another accelerator, \
         or with other options."
    )]
    NoneComparable {
        /// The run or the file.
        baseline: String,
        /// The judged run.
        run: String,
    },
    /// The run that is to be the baseline is the judged one or began after it.
    #[error("{baseline} did not begin before {run}, so it cannot be its baseline.")]
    NotBefore {
        /// The run.
        baseline: String,
        /// The judged run.
        run: String,
    },
}

/// A run, compared with others.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The runs, the oldest first; the last one is the judged one.
    pub runs: Vec<RunRecord>,
    /// With a baseline: the index of its last run.
    pub baseline: Option<usize>,
    /// What each series says that has a value of the judged run.
    pub judged: Vec<Judged>,
    /// Series of earlier runs that have no value of the judged one.
    pub not_measured: Vec<String>,
    /// Scenarios of the judged run that did not pass, so that their values do not count.
    pub not_passed: Vec<String>,
    /// Runs of the history on other hosts or under another accelerator.
    pub other_hosts: usize,
    /// Runs on this host with other options, or of a core changed on purpose.
    pub other_options: usize,
    /// The highest probability of a false alarm of each series.
    pub alpha: f64,
}

impl Comparison {
    /// The series that are worse.
    pub fn regressions(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| judged.state == State::Worse)
    }

    /// Whether any series has enough values.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.judged.iter().any(|judged| !matches!(judged.state, State::TooFew { .. }))
    }
}

/// Compares a run of the history. `last` is how many values of each series are looked at.
///
/// # Errors
/// The history or the baseline cannot be read, or nothing in it is comparable.
pub fn compare(
    history: &History,
    run: &str,
    baseline: &Against,
    last: usize,
) -> Result<Comparison, NotCompared> {
    let judged = history.run(run)?;
    let all = history.runs()?;
    let accepted = match baseline {
        Against::EarlierRuns => accepted_until(&judged, &all, &history.accepted(Kind::Run)?),
        // Whoever names the border wants to know what changed since, accepted or not.
        Against::Run(_) | Against::Baseline(_) => None,
    };
    let Others { comparable, left_out } = Others::of(&judged, all);
    let chosen = match baseline {
        Against::EarlierRuns => Chosen::all(history, comparable, &judged)?,
        Against::Run(id) => Chosen::after_run(history, comparable, &judged, id)?,
        Against::Baseline(path) => Chosen::after_file(history, comparable, &judged, path)?,
    };
    Ok(judge_all(&judged, left_out, chosen, accepted.as_deref(), last))
}

/// Compares a benchmark of the history with earlier ones. `last` is how many values of each series
/// are looked at.
///
/// # Errors
/// The history cannot be read.
pub fn compare_bench(history: &History, bench: &str, last: usize) -> Result<Comparison, NotCompared> {
    let judged = history.bench(bench)?;
    let all = history.benches()?;
    let accepted = accepted_until(&judged, &all, &history.accepted(Kind::Bench)?);
    let Others { comparable: mut runs, left_out } = Others::of(&judged, all);
    runs.push(judged.clone());
    let chosen = Chosen { metrics: metrics_of(&runs), runs, baseline: None };
    Ok(judge_all(&judged, left_out, chosen, accepted.as_deref(), last))
}

/// When the newest accepted run began that can be compared with the judged one; `None` if there is
/// none. One that was deleted does not count: so were the runs before it, and with them the change.
fn accepted_until(judged: &RunRecord, all: &[RunRecord], accepted: &BTreeSet<AcceptedRun>) -> Option<String> {
    let is_accepted = |run: &&RunRecord| accepted.iter().any(|accepted| accepted.is(run));
    let alike = all.iter().filter(is_accepted).filter(|run| accepts(run, judged));
    alike.map(|run| run.began.clone()).max()
}

/// What each series says that has a value of the judged run. Changes up to the time `accepted` are
/// intended.
fn judge_all(
    judged: &RunRecord,
    left_out: LeftOut,
    chosen: Chosen,
    accepted: Option<&str>,
    last: usize,
) -> Comparison {
    let Chosen { runs, metrics, baseline } = chosen;
    let looked_at = if baseline.is_some() { usize::MAX } else { last };
    let mut found = series(&runs, &metrics, looked_at);
    found.extend(pooled(&found));
    let newest = runs.len() - 1;
    let is_measured = |series: &Series| series.points.last().is_some_and(|point| point.run == newest);
    let (measured, not_measured): (Vec<_>, Vec<_>) = found.into_iter().partition(is_measured);
    let alpha = NIGHT_ALPHA / measured.len().max(1) as f64;
    let judge = |series| match baseline {
        None => search(series, alpha),
        Some(baseline) => against(newest_of(series, baseline, last), baseline, alpha),
    };
    let is_accepted = |judged: &Judged| {
        let first = judged.shift.and_then(|shift| runs.get(shift.first));
        first.zip(accepted).is_some_and(|(first, until)| first.began.as_str() <= until)
    };
    let accept = |judged: Judged| match judged.state {
        State::Worse if is_accepted(&judged) => Judged { state: State::Accepted, ..judged },
        _ => judged,
    };
    Comparison {
        judged: measured.into_iter().map(judge).map(accept).collect(),
        not_measured: not_measured.iter().filter(|series| !series.is_pooled()).map(describe).collect(),
        not_passed: not_passed(judged).into_iter().map(ToOwned::to_owned).collect(),
        other_hosts: left_out.hosts,
        other_options: left_out.options,
        alpha,
        baseline,
        runs,
    }
}

/// The other runs of a history.
struct Others {
    /// Those before the judged one that can be compared with it.
    comparable: Vec<RunRecord>,
    left_out: LeftOut,
}

/// How many runs are not compared.
#[derive(Clone, Copy)]
struct LeftOut {
    /// Those on other hosts.
    hosts: usize,
    /// Those on the same host.
    options: usize,
}

impl Others {
    /// Sorts `all` runs, one of which is the judged one.
    fn of(judged: &RunRecord, all: Vec<RunRecord>) -> Self {
        let is_before = |other: &RunRecord| (&other.began, &other.run) < (&judged.began, &judged.run);
        let others = || all.iter().filter(|other| other.run != judged.run);
        let on_host = others().filter(|other| are_hosts_alike(judged, other)).count();
        let hosts = others().count() - on_host;
        let comparable: Vec<_> =
            all.into_iter().filter(|other| is_before(other) && is_comparable(judged, other)).collect();
        let left_out = LeftOut { hosts, options: on_host - comparable.len() };
        Self { comparable, left_out }
    }
}

fn describe(series: &Series) -> String {
    format!("{}: {}", series.place(), series.measure.title)
}

/// The newest `last` values of the baseline and of the runs since.
fn newest_of(mut series: Series, baseline: usize, last: usize) -> Series {
    let at = series.points.partition_point(|point| point.run <= baseline);
    let newest = |count: usize| count.saturating_sub(last);
    let after = series.points.split_off(at);
    series.points.drain(..newest(at));
    series.points.extend_from_slice(&after[newest(after.len())..]);
    series
}

/// The runs that are compared, the judged one last, with their metrics.
struct Chosen {
    runs: Vec<RunRecord>,
    metrics: Vec<(usize, Metric)>,
    baseline: Option<usize>,
}

impl Chosen {
    fn all(history: &History, mut runs: Vec<RunRecord>, judged: &RunRecord) -> Result<Self, NotCompared> {
        runs.push(RunRecord { metrics: Vec::new(), ..judged.clone() });
        let metrics = history.measured(&runs)?;
        Ok(Self { runs, metrics, baseline: None })
    }

    fn after_run(
        history: &History,
        comparable: Vec<RunRecord>,
        judged: &RunRecord,
        id: &str,
    ) -> Result<Self, NotCompared> {
        let (baseline, run) = (id.to_owned(), judged.run.clone());
        let Some(at) = comparable.iter().position(|run| run.run == id) else {
            // It may not exist at all.
            let named = history.run(id)?;
            let is_before = (&named.began, &named.run) < (&judged.began, &judged.run);
            return Err(if is_before {
                NotCompared::NoneComparable { baseline, run }
            } else {
                NotCompared::NotBefore { baseline, run }
            });
        };
        Ok(Self { baseline: Some(at), ..Self::all(history, comparable, judged)? })
    }

    fn after_file(
        history: &History,
        comparable: Vec<RunRecord>,
        judged: &RunRecord,
        path: &Utf8Path,
    ) -> Result<Self, NotCompared> {
        let mut baseline = read(path)?;
        baseline.retain(|run| is_comparable(judged, run) && run.run != judged.run);
        let Some(newest) = baseline.iter().map(|run| run.began.clone()).max() else {
            let baseline = path.to_string();
            return Err(NotCompared::NoneComparable { baseline, run: judged.run.clone() });
        };
        let known: BTreeSet<&str> = baseline.iter().map(|run| run.run.as_str()).collect();
        let is_after = |run: &RunRecord| run.began > newest && !known.contains(run.run.as_str());
        let after: Vec<_> = comparable.into_iter().filter(is_after).collect();
        let later = Self::all(history, after, judged)?;
        let count = baseline.len();
        let mut metrics = metrics_of(&baseline);
        metrics.extend(later.metrics.into_iter().map(|(index, metric)| (index + count, metric)));
        let runs = baseline.into_iter().chain(later.runs).collect();
        Ok(Self { runs, metrics, baseline: Some(count - 1) })
    }
}

/// The metrics of records that hold them, each with the index of its record.
fn metrics_of(records: &[RunRecord]) -> Vec<(usize, Metric)> {
    let of_record = |(index, run): (usize, &RunRecord)| {
        run.metrics.iter().map(move |metric| (index, metric.clone())).collect::<Vec<_>>()
    };
    records.iter().enumerate().flat_map(of_record).collect()
}

/// The runs of a baseline, the oldest first.
fn read(path: &Utf8Path) -> Result<Vec<RunRecord>, NotCompared> {
    let bad = |why: String| NotCompared::Baseline { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let runs = lines.map(|(number, line)| {
        serde_json::from_str(line).map_err(|error| bad(format!("line {}: {error}", number + 1)))
    });
    let mut runs: Vec<RunRecord> = runs.collect::<Result<_, _>>()?;
    runs.sort_by(|a, b| (&a.began, &a.run).cmp(&(&b.began, &b.run)));
    Ok(runs)
}

#[cfg(test)]
#[path = "compare_tests.rs"]
pub(crate) mod tests;
