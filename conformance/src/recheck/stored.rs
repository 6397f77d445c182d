//! Finds the scenarios that a directory holds, and those that it should hold and does not.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::evidence::{RESULT, STARTED, asked, check_seal};
use crate::outcome::{Results, ScenarioOutcome, Verdict};

/// The report of a run.
const REPORT: &str = "results.json";

/// A scenario of which evidence was stored.
pub(super) enum Stored {
    /// It left no result.
    Unfinished { name: String, why: String },
    /// It ended.
    Ended(Box<Ended>),
}

impl Stored {
    fn name(&self) -> &str {
        match self {
            Self::Unfinished { name, .. } => name,
            Self::Ended(ended) => &ended.outcome.name,
        }
    }
}

/// A scenario that left a result.
pub(super) struct Ended {
    pub(super) dir: Utf8PathBuf,
    pub(super) outcome: ScenarioOutcome,
    /// Why the result cannot be the one that the scenario wrote, if so.
    pub(super) altered: Option<String>,
}

#[derive(Deserialize)]
struct StartMark {
    scenario: String,
}

/// The scenarios in `dir`, the directory of a run or of one scenario, in the order of their
/// directories.
///
/// # Errors
/// There is none, or the directory cannot be read.
pub(super) fn find(dir: &Utf8Path) -> Result<Vec<Stored>> {
    let mut places = vec![dir.to_owned()];
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        places.push(entry?.path().to_owned());
    }
    places.retain(|place| place.join(STARTED).exists() || place.join(RESULT).exists());
    places.sort();
    let mut found: Vec<Stored> = places.iter().map(|place| read(place)).collect();
    for name in asked(dir)? {
        if !found.iter().any(|stored| stored.name() == name) {
            let why = "the run was asked for it, and it never started".to_owned();
            found.push(Stored::Unfinished { name, why });
        }
    }
    found.extend(absent(dir, &found)?);
    anyhow::ensure!(!found.is_empty(), "{dir} holds no evidence of a scenario");
    Ok(found)
}

fn read(dir: &Utf8Path) -> Stored {
    let unfinished = |why: String| {
        let name = dir.file_name().unwrap_or(dir.as_str()).to_owned();
        Stored::Unfinished { name, why }
    };
    let path = dir.join(RESULT);
    if !path.exists() {
        return unfinished("it started and left no result".to_owned());
    }
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) => return unfinished(format!("{RESULT} cannot be read ({error})")),
    };
    match serde_json::from_slice::<ScenarioOutcome>(&text) {
        Err(error) => unfinished(format!("{RESULT} cannot be understood ({error})")),
        Ok(outcome) => {
            let altered = check_seal(dir, &text).and_then(|()| check_start(dir, &outcome)).err();
            Stored::Ended(Box::new(Ended { dir: dir.to_owned(), outcome, altered }))
        }
    }
}

/// Whether the scenario that wrote the result is the one that started here.
fn check_start(dir: &Utf8Path, outcome: &ScenarioOutcome) -> Result<(), String> {
    let mark =
        std::fs::read(dir.join(STARTED)).map_err(|error| format!("{STARTED} cannot be read ({error})"))?;
    let mark: StartMark =
        serde_json::from_slice(&mark).map_err(|error| format!("{STARTED} is malformed ({error})"))?;
    if mark.scenario == outcome.name {
        return Ok(());
    }
    Err(format!("{STARTED} is of scenario {}", mark.scenario))
}

/// The scenarios that the report of the run names and of which there is no evidence, or other
/// evidence.
fn absent(dir: &Utf8Path, found: &[Stored]) -> Result<Vec<Stored>> {
    let path = dir.join(REPORT);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read(&path).with_context(|| format!("read {path}"))?;
    let report: Results = serde_json::from_slice(&text).with_context(|| format!("understand {path}"))?;
    let ended = found.iter().filter_map(|stored| match stored {
        Stored::Ended(ended) => Some((ended.outcome.name.as_str(), ended.outcome.verdict)),
        Stored::Unfinished { .. } => None,
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
