//! How long scenarios and steps usually take on a host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::HistoryError;
use super::record::{Metric, RunRecord};
use super::store::History;
use crate::outcome::Verdict;

/// How many runs count.
const RUNS: usize = 10;
/// The beginning of the names of steps' metrics.
const STEP: &str = "step-ms ";

/// The usual durations on a host, in milliseconds: medians of its last runs, without those of many
/// cycles or of single rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usual {
    /// How many runs they come from.
    pub runs: usize,
    /// Whole scenarios, by name.
    pub scenarios: BTreeMap<String, u64>,
    /// Steps, by scenario, then by edge and step as progress shows them: `failover · boot`.
    pub steps: BTreeMap<String, BTreeMap<String, u64>>,
}

/// The usual durations on the host with this fingerprint.
///
/// # Errors
/// The history cannot be read.
pub fn usual(history: &History, fingerprint: &str) -> Result<Usual, HistoryError> {
    let mut last = history.on_host(fingerprint)?;
    last.retain(RunRecord::takes_usual_time);
    last.truncate(RUNS);
    let mut scenarios: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    // A shard of a merged run may have had another host.
    let is_here = |run: &RunRecord, scenario: &str| run.host_of(scenario) == Some(fingerprint);
    for run in &last {
        // What did not pass ended early, or waited for what never came.
        let passed = run.scenarios.iter().filter(|scenario| scenario.verdict == Verdict::Pass);
        for scenario in passed.filter(|scenario| is_here(run, &scenario.name)) {
            scenarios.entry(scenario.name.clone()).or_default().push(scenario.ms);
        }
    }
    let mut steps: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for (run, Metric { scenario, edge, name, value }) in history.steps(&last)? {
        if !is_here(&last[run], &scenario) {
            continue;
        }
        let step = name.strip_prefix(STEP).unwrap_or(&name);
        let shown = if edge.is_empty() { step.to_owned() } else { format!("{edge} · {step}") };
        steps.entry((scenario, shown)).or_default().push(value as u64);
    }
    let mut usual = Usual { runs: last.len(), ..Usual::default() };
    usual.scenarios = scenarios.into_iter().map(|(name, values)| (name, median(values))).collect();
    for ((scenario, step), values) in steps {
        usual.steps.entry(scenario).or_default().insert(step, median(values));
    }
    Ok(usual)
}

/// The middle value; of an even number the lower one of the two.
pub(super) fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_one_of_the_values() {
        assert_eq!([vec![], vec![5], vec![9, 1], vec![7, 1, 3]].map(median), [0, 5, 1, 3]);
    }
}
