//! What needs attention: broken and unknown rules, scenarios that did not pass, regressions.

use maud::{Markup, html};

use super::parts::{badge, class, command, regression, rule_link, scenario_link};
use crate::outcome::{Results, RuleOutcome, ScenarioOutcome, Verdict};
use crate::report::reason::gist;
use crate::report::rules::JudgedRules;
use crate::rules::{RuleId, Score};
use crate::scenario::CHECKS;

/// Whether there is anything to see to.
pub(super) fn is_needed(results: &Results) -> bool {
    results.verdict > Verdict::Pass || results.slow().next().is_some()
}

pub(super) fn section(results: &Results, scenarios: &[&ScenarioOutcome]) -> Markup {
    let judged = JudgedRules::of(results);
    let rules: Vec<_> = judged.scored(&[Score::Broken]).chain(judged.scored(&[Score::Unknown])).collect();
    html! {
        @if is_needed(results) {
            section aria-labelledby="attention" {
                h2 id="attention" { "Needs attention" }
                @for rule in &rules { (rule_card(results, rule)) }
                @for scenario in scenarios { (scenario_card(results, scenario)) }
                @for regression in &results.regressions {
                    div.card.unknown {
                        h3 { span class="badge unknown" { "↓ regression" } " since earlier runs" }
                        p { (regression) }
                    }
                }
            }
        }
    }
}

/// The scenarios in which a rule has this outcome.
fn scenarios_of<'a>(results: &'a Results, rule: &RuleOutcome) -> Vec<&'a ScenarioOutcome> {
    let has = |scenario: &&ScenarioOutcome| {
        scenario.rules.iter().any(|other| other.id == rule.id && other.score == rule.score)
    };
    results.scenarios.iter().filter(has).collect()
}

fn rule_card(results: &Results, rule: &RuleOutcome) -> Markup {
    let RuleOutcome { title, score, expected, found, .. } = rule;
    let scenarios = scenarios_of(results, rule);
    let verdict = score.verdict();
    html! {
        div class={ "card " (class(verdict)) } {
            h3 { (badge(verdict)) " " (rule_link(rule.id)) " " (title) }
            dl.facts {
                dt { "expected" } dd { (expected) }
                dt { "found" } dd { (found) }
                dt { "in" } dd {
                    @for (index, scenario) in scenarios.iter().enumerate() {
                        @if index > 0 { ", " }
                        (scenario_link(scenario))
                    }
                }
            }
            @if let Some(scenario) = scenarios.first() { (command(&repeat(results, scenario, rule.id, found))) }
        }
    }
}

/// The command that shows a finding about a rule again. A simulated one names its seed.
fn repeat(results: &Results, scenario: &ScenarioOutcome, rule: RuleId, found: &str) -> String {
    let seed = found.split("ROUNDTRIP_SEED=").nth(1);
    let seed: String = seed.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    let mut request = results.request.clone();
    if !seed.is_empty() {
        request.seed = Some(seed);
    }
    if scenario.name == CHECKS { request.repeat_rule(rule) } else { request.repeat(&scenario.name) }
}

/// A scenario that did not pass and of which no rule says why, and one that passed with a
/// regression.
fn scenario_card(results: &Results, scenario: &ScenarioOutcome) -> Markup {
    let ScenarioOutcome { name, title, verdict, why, slow, rules, .. } = scenario;
    html! {
        @if *verdict > Verdict::Pass {
            @if rules.iter().all(|rule| rule.score.verdict() != *verdict) {
                div class={ "card " (class(*verdict)) } {
                    h3 { (badge(*verdict)) " " (scenario_link(scenario)) }
                    @if !title.is_empty() { p { (title) } }
                    @if why.lines().count() > 1 {
                        details { summary { (gist(why)) } pre { (why) } }
                    } @else { p { (why) } }
                    (command(&results.request.repeat(name)))
                }
            }
        } @else if !slow.is_empty() {
            div.card.unknown {
                h3 { (regression(scenario)) " " (scenario_link(scenario)) }
                @for slow in slow {
                    @if slow.lines().count() > 1 {
                        details { summary { (gist(slow)) } pre { (slow) } }
                    } @else { p { (slow) } }
                }
                (command(&results.request.repeat(name)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use crate::rules::ids::FO_04;

    #[test]
    fn a_finding_that_names_its_seed_is_repeated_with_it() {
        let results = samples::failing();
        let found = "clock: late (ROUNDTRIP_SEED=42 runs it again)";
        let scenario = |name| ScenarioOutcome::begun(name, "", None);
        assert_eq!(
            repeat(&results, &scenario("clock"), FO_04, found),
            "ROUNDTRIP_SEED=42 cargo xtask conformance --scenario clock"
        );
        assert_eq!(
            repeat(&results, &scenario(CHECKS), FO_04, found),
            "ROUNDTRIP_SEED=42 cargo xtask conformance --rule FO-04"
        );
        assert_eq!(
            repeat(&results, &scenario("clock"), FO_04, "late"),
            "cargo xtask conformance --scenario clock"
        );
    }

    #[test]
    fn nothing_needs_attention_in_a_run_that_passed() {
        let mut results = samples::passing();
        assert!(!is_needed(&results));
        results.scenarios[0].slow.push("late".to_owned());
        assert!(is_needed(&results));
    }
}
