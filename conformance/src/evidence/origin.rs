//! Whether evidence is that of the scenario and of the run in whose directory it lies.
//!
//! The directory of a run may be renamed or copied as a whole. So the scenarios are compared with
//! each other, and not with the name of the directory.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::start_mark::{STARTED, StartMark};
use super::{SEAL, check_seal};
use crate::outcome::{Division, ScenarioOutcome};

/// Whether the scenario that wrote a result is the one that started in `dir`; `Err` says which one
/// did.
pub(crate) fn check_start(dir: &Utf8Path, outcome: &ScenarioOutcome) -> Result<(), String> {
    let mark = StartMark::read(dir)?;
    if mark.scenario == outcome.name {
        return Ok(());
    }
    Err(format!("{STARTED} is of scenario {}", mark.scenario))
}

/// Whether a result lies in the directory of its scenario; `Err` says of which scenario it is.
pub(crate) fn check_place(dir: &Utf8Path, outcome: &ScenarioOutcome) -> Result<(), String> {
    if dir.file_name() == Some(outcome.name.as_str()) {
        return Ok(());
    }
    Err(format!("its evidence is of scenario {}: the directory was copied or renamed", outcome.name))
}

/// As [`check_seal`], but suites that had no seals yet need none.
pub(crate) fn check_seal_if_due(dir: &Utf8Path, text: &[u8]) -> Result<(), String> {
    let absent = dir.join(SEAL).symlink_metadata().is_err();
    // Every suite that writes this field writes a seal.
    let has_seeds = |result: serde_json::Value| result.get("seeds").is_some();
    let is_due = serde_json::from_slice(text).is_ok_and(has_seeds);
    if absent && !is_due { Ok(()) } else { check_seal(dir, text) }
}

/// The directories of scenarios in a run whose evidence is of another run.
#[derive(Debug, Default)]
pub(crate) struct Foreign(BTreeMap<Utf8PathBuf, String>);

impl Foreign {
    /// Looks at the start marks in `places`, the directories of the scenarios of a run. All
    /// scenarios are of one run, and in a merged one those of each shard.
    pub(crate) fn among(places: &[Utf8PathBuf], division: &Division) -> Self {
        let mut groups: BTreeMap<Option<usize>, Vec<(&Utf8PathBuf, String)>> = BTreeMap::new();
        for place in places {
            // The check of the result objects to a mark that cannot be read.
            let Ok(mark) = StartMark::read(place) else { continue };
            let shard = shard_of(&mark.scenario, division);
            groups.entry(shard).or_default().push((place, mark.run_in_words()));
        }
        let mut foreign = Self::default();
        let merged = matches!(division, Division::Merged(_));
        for (shard, group) in groups {
            if merged && shard.is_none() {
                let why = "no shard of this run had to run it";
                foreign.0.extend(group.into_iter().map(|(place, _)| (place.clone(), why.to_owned())));
            } else {
                foreign.add_minority(&group);
            }
        }
        foreign
    }

    /// Adds the evidence of all runs but the one that most of a group is of. If no run has most,
    /// nobody can say which one is meant, and all of the group is added.
    fn add_minority(&mut self, group: &[(&Utf8PathBuf, String)]) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, run) in group {
            *counts.entry(run).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let mut largest = counts.iter().filter(|(_, count)| Some(**count) == most).map(|(run, _)| *run);
        let main = largest.next().filter(|_| largest.next().is_none());
        for (place, run) in group.iter().filter(|(_, run)| Some(run.as_str()) != main) {
            let others =
                counts.keys().filter(|other| **other != run && main.is_none_or(|main| **other == main));
            let others: Vec<_> = others.copied().collect();
            let why =
                format!("its evidence is of {run}, that of other scenarios of {}", others.join(" and "));
            self.0.insert((*place).clone(), why);
        }
    }

    /// Whether the evidence in `place` is of this run; `Err` says of which one it is.
    pub(crate) fn check(&self, place: &Utf8Path) -> Result<(), String> {
        self.0.get(place).map_or(Ok(()), |why| Err(why.clone()))
    }
}

/// The number of the shard that had to run a scenario, in a merged run.
fn shard_of(scenario: &str, division: &Division) -> Option<usize> {
    let Division::Merged(merged) = division else { return None };
    let own = merged.shards.iter().find(|shard| shard.scenarios.iter().any(|name| name == scenario));
    own.map(|shard| shard.number)
}

#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;
