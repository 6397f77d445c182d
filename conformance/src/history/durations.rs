//! How long scenarios took, whatever the hosts: what a run is divided into shards by.

use std::collections::BTreeMap;

use super::error::HistoryError;
use super::record::RunRecord;
use super::store::History;
use super::usual::median;
use crate::outcome::Verdict;

/// How many passes of a scenario count.
const PASSES: usize = 10;

/// The median duration of each scenario's last passes, in milliseconds.
///
/// # Errors
/// The history cannot be read.
pub fn durations(history: &History) -> Result<BTreeMap<String, u64>, HistoryError> {
    Ok(medians(&history.runs()?))
}

/// The medians over `runs`, the oldest first, but for those that take longer or shorter by
/// themselves.
fn medians(runs: &[RunRecord]) -> BTreeMap<String, u64> {
    let mut passes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let usual = runs.iter().rev().filter(|run| run.takes_usual_time());
    for scenario in usual.flat_map(|run| &run.scenarios) {
        let known = passes.entry(scenario.name.clone()).or_default();
        if scenario.verdict == Verdict::Pass && known.len() < PASSES {
            known.push(scenario.ms);
        }
    }
    passes.retain(|_, passes| !passes.is_empty());
    passes.into_iter().map(|(name, passes)| (name, median(passes))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(ms: u64, verdict: &str) -> RunRecord {
        let record = json!({
            "run": "", "began": "", "verdict": verdict, "suite": "", "core": "", "mutant": null,
            "profile": "", "fingerprint": "", "host": crate::outcome::HostFacts::default(),
            "command": "", "scenarios": [{"name": "a", "verdict": verdict, "ms": ms}],
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn only_the_last_passes_count() {
        let mut runs = vec![run(90, "pass"); 9];
        runs.extend(vec![run(1, "fail"); 20]);
        runs.extend((0..7).map(|_| run(10, "pass")));
        assert_eq!(medians(&runs), [("a".to_owned(), 10)].into());
        assert!(medians(&[run(5, "unknown")]).is_empty());
    }

    #[test]
    fn a_run_of_many_cycles_does_not_make_a_scenario_long() {
        let soak = RunRecord { options: "--cycles 100".to_owned(), ..run(9_000, "pass") };
        assert_eq!(medians(&[run(10, "pass"), soak.clone(), soak.clone()])["a"], 10);
        assert!(medians(&[soak]).is_empty());
    }
}
