//! Compares the parts of a recorded result with each other and with the suite's tables.

use std::collections::BTreeSet;

use crate::outcome::{EdgeOutcome, RuleOutcome, ScenarioOutcome, Verdict};
use crate::rules::ids::FO_10;
use crate::rules::{RuleId, Score};
use crate::scenario::Scenario;

/// The verdict in a word.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
        Verdict::Skipped => "skipped",
    }
}

/// What a recorded result says against a pass: its own verdict, and contradictions in it.
pub(super) fn objections(outcome: &ScenarioOutcome) -> Vec<(Verdict, String)> {
    let mut objections = Vec::new();
    if outcome.verdict != Verdict::Pass {
        let line = format!("its recorded verdict is {}: {}", word(outcome.verdict), outcome.why);
        objections.push((outcome.verdict, line));
    } else if !outcome.why.is_empty() {
        objections.push((Verdict::Unknown, format!("it is recorded as a pass, and yet: {}", outcome.why)));
    }
    let edges = outcome.edges.iter().map(|edge| (edge.verdict, format!("edge {}", edge.name)));
    let rules = outcome.rules.iter().map(|rule| (rule.score.verdict(), format!("rule {}", rule.id)));
    for (verdict, part) in edges.chain(rules) {
        // A scenario that is skipped half way has judged something before.
        if verdict > outcome.verdict.and(Verdict::Pass) {
            objections.push((verdict, format!("its recorded verdict is better than that of {part}")));
        }
    }
    objections.extend(objections_to_rules(&outcome.rules));
    objections
}

/// Rules that are recorded twice, or whose score does not follow from their verdict.
fn objections_to_rules(rules: &[RuleOutcome]) -> Vec<(Verdict, String)> {
    let mut objections = Vec::new();
    let mut seen = BTreeSet::new();
    for rule in rules {
        let class = rule.id.rule().class;
        // A core that failed before the rule could be judged breaks a rule of any class.
        let failed_early = (rule.verdict, rule.score) == (Verdict::Fail, Score::Broken);
        if rule.class != class || (rule.score != Score::of(class, rule.verdict) && !failed_early) {
            let verdict = Score::of(class, rule.verdict).verdict().and(Verdict::Unknown);
            objections
                .push((verdict, format!("the score of rule {} does not follow from its verdict", rule.id)));
        }
        if !seen.insert(rule.id) {
            objections.push((Verdict::Unknown, format!("rule {} is recorded twice", rule.id)));
        }
    }
    objections
}

/// Rules that the scenario promises to judge and that are not recorded.
pub(super) fn objections_to_promises(row: &Scenario, outcome: &ScenarioOutcome) -> Vec<(Verdict, String)> {
    let recorded = |rule: &&RuleId| outcome.rules.iter().any(|known| known.id == **rule);
    let missing = row.promises.iter().filter(|rule| !recorded(rule));
    let line = |rule: &RuleId| format!("rule {rule}, which the scenario promises to judge, is not recorded");
    missing.map(|rule| (Verdict::Unknown, line(rule))).collect()
}

/// What the edges of a recorded result lack. A scenario that did not pass may have ended early.
pub(super) fn objections_to_edges(row: &Scenario, outcome: &ScenarioOutcome) -> Vec<(Verdict, String)> {
    let mut objections = Vec::new();
    if outcome.verdict != Verdict::Pass {
        return objections;
    }
    let count = |name: &str| outcome.edges.iter().filter(|edge| edge.name == name).count();
    let rounds = row.edges.iter().map(|name| count(name)).max().unwrap_or(0).max(1);
    for name in &row.edges {
        let found = count(name);
        if found != rounds {
            objections
                .push((Verdict::Unknown, format!("edge {name} is recorded {found} times, not {rounds}")));
        }
    }
    if rounds > 1 && !row.repeatable {
        objections.push((Verdict::Unknown, format!("its edges are recorded {rounds} times, not once")));
    }
    for EdgeOutcome { name, .. } in &outcome.edges {
        if !row.edges.contains(name) {
            objections.push((Verdict::Unknown, format!("the scenario has no edge {name}")));
        }
    }
    if !row.edges.is_empty() && !outcome.rules.iter().any(|rule| rule.id == FO_10) {
        let line = format!("rule {FO_10}, by which every edge is judged, is not recorded");
        objections.push((Verdict::Unknown, line));
    }
    objections
}
