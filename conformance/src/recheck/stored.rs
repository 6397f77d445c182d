//! Finds the scenarios that a directory holds, and those that it should hold and does not.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::origin::{Foreign, check_place, check_start};
use crate::evidence::{RESULT, STARTED, asked, attempt_of, check_seal};
use crate::foreign_files;
use crate::outcome::{Division, Results, ScenarioOutcome, Verdict};

/// The report of a run.
const REPORT: &str = "results.json";

/// A scenario of which evidence was stored.
pub(crate) enum Stored {
    /// It left no result, or that of another run.
    Unfinished { name: String, why: String },
    /// An earlier attempt, whose evidence was set aside when the scenario ran again.
    Superseded { name: String },
    /// It ended.
    Ended(Box<Ended>),
}

impl Stored {
    fn name(&self) -> &str {
        match self {
            Self::Unfinished { name, .. } | Self::Superseded { name } => name,
            Self::Ended(ended) => &ended.outcome.name,
        }
    }
}

/// A scenario that left a result.
pub(crate) struct Ended {
    pub(crate) dir: Utf8PathBuf,
    pub(crate) outcome: ScenarioOutcome,
    /// Why the result cannot be the one that the scenario wrote, if so.
    pub(crate) altered: Option<String>,
}

/// The scenarios in `dir`, the directory of a run or of one scenario, in the order of their
/// directories.
///
/// # Errors
/// There is none, or the directory cannot be read.
pub(crate) fn find(dir: &Utf8Path) -> Result<Vec<Stored>> {
    let mut places = vec![dir.to_owned()];
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        places.push(entry?.path().to_owned());
    }
    places.retain(|place| place.join(STARTED).exists() || place.join(RESULT).exists());
    places.sort();
    let foreign = Foreign::among(&scenarios_of_run(&places, dir), &Division::of_run(dir)?);
    let stored = |place: &Utf8PathBuf| match foreign.check(place) {
        Ok(()) => read(place, place != dir),
        Err(why) => Stored::Unfinished { name: name_of(place).to_owned(), why },
    };
    let mut found: Vec<Stored> = places.iter().map(stored).collect();
    for name in asked(dir)? {
        if !found.iter().any(|stored| stored.name() == name) {
            let why = "the run was asked for it, and it never started".to_owned();
            found.push(Stored::Unfinished { name, why });
        }
    }
    found.extend(without_last_attempt(&places, &found));
    found.extend(absent(dir, &found)?);
    anyhow::ensure!(!found.is_empty(), "{dir} holds no evidence of a scenario");
    Ok(found)
}

/// Those of `places` that hold a scenario of the run in `dir`, and no earlier attempt.
fn scenarios_of_run(places: &[Utf8PathBuf], dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let is_scenario = |place: &&Utf8PathBuf| *place != dir && attempt_of(name_of(place)).is_none();
    places.iter().filter(is_scenario).cloned().collect()
}

fn name_of(place: &Utf8Path) -> &str {
    place.file_name().unwrap_or(place.as_str())
}

/// Scenarios of which earlier attempts are stored and the last one is not.
fn without_last_attempt(places: &[Utf8PathBuf], found: &[Stored]) -> Vec<Stored> {
    let attempts = places.iter().filter_map(|place| attempt_of(place.file_name()?));
    let attempted: BTreeSet<_> = attempts.collect();
    let last = |name: &&str| found.iter().any(|stored| stored.name() == *name);
    let absent = attempted.into_iter().filter(|name| !last(name));
    let why = "earlier attempts are stored, and the last one is not";
    absent.map(|name| Stored::Unfinished { name: name.to_owned(), why: why.to_owned() }).collect()
}

/// Reads the evidence in `dir`. In the directory of a run, earlier attempts at a scenario count no
/// more; `in_run` says that this is one.
fn read(dir: &Utf8Path, in_run: bool) -> Stored {
    let name = name_of(dir);
    if in_run && attempt_of(name).is_some() {
        return Stored::Superseded { name: name.to_owned() };
    }
    let unfinished = |why: String| Stored::Unfinished { name: name.to_owned(), why };
    let path = dir.join(RESULT);
    if !path.exists() {
        return unfinished("it started and left no result".to_owned());
    }
    let text = match foreign_files::read(&path) {
        Ok(text) => text,
        Err(error) => return unfinished(format!("{RESULT} cannot be read ({error})")),
    };
    match serde_json::from_slice::<ScenarioOutcome>(&text) {
        Err(error) => unfinished(format!("{RESULT} cannot be understood ({error})")),
        Ok(outcome) => {
            let own = check_seal(dir, &text).and_then(|()| check_start(dir, &outcome));
            // The directory of one scenario may have been copied to any place.
            let own = own.and_then(|()| if in_run { check_place(dir, &outcome) } else { Ok(()) });
            let altered = own.err();
            Stored::Ended(Box::new(Ended { dir: dir.to_owned(), outcome, altered }))
        }
    }
}

/// The scenarios that the report of the run names and of which there is no evidence, or other
/// evidence.
fn absent(dir: &Utf8Path, found: &[Stored]) -> Result<Vec<Stored>> {
    let path = dir.join(REPORT);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = foreign_files::read(&path).with_context(|| format!("read {path}"))?;
    let report: Results = serde_json::from_slice(&text).with_context(|| format!("understand {path}"))?;
    let ended = found.iter().filter_map(|stored| match stored {
        Stored::Ended(ended) => Some((ended.outcome.name.as_str(), ended.outcome.verdict)),
        Stored::Unfinished { .. } | Stored::Superseded { .. } => None,
    });
    let ended: BTreeSet<_> = ended.collect();
    let unfinished = |name: &str| {
        found.iter().any(|stored| matches!(stored, Stored::Unfinished { name: known, .. } if known == name))
    };
    let missing = report.scenarios.iter().filter(|scenario| {
        !ended.contains(&(scenario.name.as_str(), scenario.verdict)) && !unfinished(&scenario.name)
    });
    let missing = missing.map(|scenario| Stored::Unfinished {
        name: scenario.name.clone(),
        why: format!("{REPORT} records a verdict that no evidence in this directory states"),
    });
    let mut absent: Vec<_> = missing.collect();
    if report.verdict != Verdict::worst_of(report.scenarios.iter().map(|scenario| scenario.verdict)) {
        let why = "its verdict is not the worst of its scenarios".to_owned();
        absent.push(Stored::Unfinished { name: REPORT.to_owned(), why });
    }
    Ok(absent)
}
