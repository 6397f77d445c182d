//! How long scenarios usually take, by which they are divided among shards.
//!
//! All shards of a run must divide alike, on whichever hosts they run. So times come from the
//! history whatever its hosts, and a shard does not change the history: the merge does.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use crate::history;
use crate::suite::Suite;

/// The usual durations of a development version, in seconds.
const TABLE: &str = include_str!("durations.toml");

/// The usual duration of every scenario, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    known: BTreeMap<String, u64>,
    /// Whether a history gave them, for people.
    pub source: &'static str,
}

impl Durations {
    /// Those of a history: the median of each scenario's last passes. A scenario that it does not
    /// hold has its time from the table, scaled by what the others took. Without a history all are
    /// from the table.
    pub fn find(suite: Option<&Suite>, file: &Utf8Path) -> Result<Self> {
        let recorded = suite.map(|suite| history::durations(suite, file)).transpose()?.unwrap_or_default();
        Ok(Self::combine(&table()?, &recorded))
    }

    fn combine(table: &BTreeMap<String, u64>, recorded: &BTreeMap<String, u64>) -> Self {
        let both =
            || table.iter().filter_map(|(name, usual)| Some((u128::from(*recorded.get(name)?), *usual)));
        let measured: u128 = both().map(|(measured, _)| measured).sum();
        let expected: u128 = both().map(|(_, usual)| u128::from(usual)).sum();
        let scaled = |usual: u64| match expected {
            0 => usual,
            _ => u64::try_from(u128::from(usual) * measured / expected).unwrap_or(u64::MAX),
        };
        let mut known: BTreeMap<_, _> =
            table.iter().map(|(name, usual)| (name.clone(), scaled(*usual))).collect();
        known.extend(recorded.clone());
        Self { known, source: if recorded.is_empty() { "table" } else { "history" } }
    }

    /// The usual duration of a scenario; 0 for an unknown one, which is then divided by number.
    pub fn of(&self, scenario: &str) -> u64 {
        self.known.get(scenario).copied().unwrap_or_default()
    }
}

/// The table, in milliseconds.
fn table() -> Result<BTreeMap<String, u64>> {
    let seconds: BTreeMap<String, u64> = toml::from_str(TABLE).context("tried to read durations.toml")?;
    Ok(seconds.into_iter().map(|(name, seconds)| (name, seconds * 1_000)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::scenarios;

    fn of(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
        entries.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect()
    }

    #[test]
    fn the_table_holds_every_scenario_and_nothing_else() {
        let listed: Vec<String> = table().expect("it is valid").into_keys().collect();
        let all = scenarios::all().expect("they are valid");
        let mut names: Vec<String> = all.into_iter().map(|scenario| scenario.name).collect();
        names.sort();
        assert_eq!(listed, names);
        assert!(table().expect("it is valid").values().all(|ms| *ms > 0));
    }

    #[test]
    fn without_a_history_the_table_counts_alone() {
        let durations = Durations::combine(&of(&[("a", 9_000)]), &BTreeMap::new());
        assert_eq!((durations.of("a"), durations.source), (9_000, "table"));
        assert_eq!(durations.of("new"), 0);
    }

    #[test]
    fn a_scenario_that_the_history_lacks_is_as_much_faster_as_the_others() {
        let table = of(&[("a", 8_000), ("b", 4_000), ("c", 6_000)]);
        let durations = Durations::combine(&table, &of(&[("a", 1_000), ("b", 2_000)]));
        assert_eq!(["a", "b", "c"].map(|name| durations.of(name)), [1_000, 2_000, 1_500]);
        assert_eq!(durations.source, "history");
    }
}
