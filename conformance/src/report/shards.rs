//! What the report of a merged run says about its shards.

use super::exit_code::exit_code;
use crate::outcome::{Division, Merged, MergedShard, ScenarioOutcome, ShardState, Verdict};

/// Outcomes for shards that ended otherwise than their evidence says. A shard whose test runner
/// failed, for example, has no verdict, although every result that it left may be a pass.
pub(super) fn contradictions(division: &Division, scenarios: &[ScenarioOutcome]) -> Vec<ScenarioOutcome> {
    let Division::Merged(merged) = division else { return Vec::new() };
    merged.shards.iter().filter_map(|shard| contradiction(merged, shard, scenarios)).collect()
}

fn contradiction(
    merged: &Merged,
    shard: &MergedShard,
    scenarios: &[ScenarioOutcome],
) -> Option<ScenarioOutcome> {
    let own = || scenarios.iter().filter(|scenario| shard.scenarios.contains(&scenario.name));
    let slow = own().any(|scenario| !scenario.slow.is_empty());
    let expected = exit_code(Verdict::worst_of(own().map(|scenario| scenario.verdict)), slow);
    if shard.state == ShardState::Ended(expected) || ![0, 2].contains(&expected) {
        return None;
    }
    let how = match shard.state {
        ShardState::Missing => "is missing".to_owned(),
        ShardState::Killed => "was killed before it had a verdict".to_owned(),
        ShardState::Ended(code) => format!("ended with exit code {code}"),
    };
    let (number, of) = (shard.number, merged.shards.len());
    let title = format!("Shard {number} of {of} of this run");
    let mut outcome = ScenarioOutcome::begun(&format!("shard-{number}-of-{of}"), &title, None);
    outcome.profile.clear();
    outcome.why = format!("the shard {how}, and its results alone would make that {expected}: see its log");
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(state: ShardState, verdict: Verdict, slow: bool) -> Vec<ScenarioOutcome> {
        let mut scenario = ScenarioOutcome::begun("a", "", None);
        scenario.verdict = verdict;
        scenario.slow.extend(slow.then(|| "9 boots".to_owned()));
        let shard = MergedShard { number: 1, scenarios: vec!["a".to_owned()], state, host: None };
        let merged = Merged { run: String::new(), sources: String::new(), shards: vec![shard] };
        contradictions(&Division::Merged(merged), &[scenario])
    }

    #[test]
    fn a_shard_that_ended_as_its_results_say_needs_no_word() {
        for (code, verdict, slow) in [
            (0, Verdict::Pass, false),
            (2, Verdict::Pass, true),
            (1, Verdict::Fail, false),
            (3, Verdict::Unknown, false),
        ] {
            assert!(found(ShardState::Ended(code), verdict, slow).is_empty(), "{code}");
        }
    }

    #[test]
    fn results_that_pass_are_no_pass_of_a_shard_that_failed_or_was_killed() {
        for state in [ShardState::Ended(3), ShardState::Ended(130), ShardState::Ended(1), ShardState::Killed]
        {
            let found = found(state, Verdict::Pass, false);
            assert!(found.len() == 1 && found[0].verdict == Verdict::Unknown, "{state:?}");
            assert_eq!(found[0].name, "shard-1-of-1");
        }
    }

    #[test]
    fn a_broken_rule_stays_broken_however_the_shard_ended() {
        assert!(found(ShardState::Killed, Verdict::Fail, false).is_empty());
    }
}
