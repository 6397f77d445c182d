//! Results for the tests of reports: a stored run, and what it would look like with other verdicts.

use crate::outcome::{Results, RuleOutcome, Verdict, from_stored};
use crate::rules::Score;

/// The stored run, which passed.
pub(super) fn passing() -> Results {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stored/results-schema-2.json");
    from_stored(&std::fs::read(path).unwrap()).unwrap()
}

/// The same with a broken guarantee.
pub(super) fn failing() -> Results {
    with_worst(Verdict::Fail, Score::Broken, "3 points left")
}

/// The same with a guarantee about which nothing is known.
pub(super) fn unknown() -> Results {
    with_worst(Verdict::Unknown, Score::Unknown, "the guest did not boot")
}

fn with_worst(verdict: Verdict, score: Score, found: &str) -> Results {
    let mut results = passing();
    results.verdict = verdict;
    let scenario = &mut results.scenarios[0];
    let held = |rule: &&mut RuleOutcome| rule.score == Score::Held;
    let rule = scenario.rules.iter_mut().find(held).unwrap();
    *rule = RuleOutcome { verdict, score, found: found.to_owned(), ..rule.clone() };
    let rule = rule.clone();
    scenario.verdict = verdict;
    scenario.why = rule.to_string();
    let judged = results.rules.iter_mut().find(|judged| (judged.id, judged.tier) == (rule.id, rule.tier));
    *judged.unwrap() = rule;
    results
}
