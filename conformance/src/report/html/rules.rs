//! Every rule that was judged, by area, with links to the scenarios that judged it; and those that
//! were not judged.

use maud::{Markup, html};

use super::parts::{badge, rule_anchor, scenario_link, score};
use crate::outcome::{NotJudged, Results, RuleOutcome, ScenarioOutcome, Verdict};
use crate::report::reason::many;
use crate::report::rules::JudgedRules;
use crate::rules::{Area, areas};

pub(super) fn section(results: &Results) -> Markup {
    let judged = JudgedRules::of(results);
    html! {
        section aria-labelledby="rules" {
            h2 id="rules" { "Rules" }
            p.soft {
                "A broken guarantee fails the run. A core that differs from a documented limit may be better, and "
                "advice never fails a core."
            }
            @for area in areas() {
                @let rules: Vec<_> = judged.all().filter(|rule| rule.id.prefix() == area.prefix).collect();
                @if !rules.is_empty() { (area_rules(results, area, &rules)) }
            }
        }
    }
}

fn area_rules(results: &Results, area: Area, rules: &[&RuleOutcome]) -> Markup {
    let worst = Verdict::worst_of(rules.iter().map(|rule| rule.score.verdict()));
    let attention = rules.iter().filter(|rule| rule.score.verdict() > Verdict::Pass).count();
    html! {
        details open[attention > 0] {
            summary {
                b { (area.name) } " (" (area.prefix) "): " (many(rules.len(), "rule"))
                @if worst != Verdict::Pass { " " (badge(worst)) }
            }
            table.stack {
                thead { tr {
                    th scope="col" { "rule" } th scope="col" { "result" } th scope="col" { "found" }
                    th scope="col" { "judged by" }
                } }
                tbody { @for rule in rules { (row(results, rule)) } }
            }
        }
    }
}

fn row(results: &Results, rule: &RuleOutcome) -> Markup {
    let judges = |scenario: &&ScenarioOutcome| scenario.rules.iter().any(|other| other.id == rule.id);
    let scenarios: Vec<_> = results.scenarios.iter().filter(judges).collect();
    html! {
        tr id=(rule_anchor(rule.id)) {
            th scope="row" { (rule.id) br; small { (rule.title) } }
            td data-label="result" { (score(rule)) br; small { (rule.class.as_str()) } }
            td data-label="found" {
                (rule.found)
                @if rule.score.verdict() > Verdict::Pass { br; small { "expected: " (rule.expected) } }
            }
            td data-label="judged by" {
                @for (index, scenario) in scenarios.iter().enumerate() {
                    @if index > 0 { ", " }
                    (scenario_link(scenario))
                }
            }
        }
    }
}

/// Rules that were skipped, that this run left out, and that nothing checks.
pub(super) fn not_judged_section(results: &Results) -> Markup {
    let judged = JudgedRules::of(results);
    let skipped = judged.skipped();
    let (unchecked, left_out): (Vec<_>, Vec<_>) =
        results.not_judged.iter().partition(|rule| !rule.unchecked.is_empty());
    html! {
        section aria-labelledby="not-judged" {
            h2 id="not-judged" { "Not judged" }
            @for (capability, ids) in &skipped {
                p { "Skipped, because the core has no " code { (capability) } ": " (ids.join(" ")) }
            }
            (list("have a check, which this run left out", &left_out))
            (list("have no check", &unchecked))
            @if skipped.is_empty() && results.not_judged.is_empty() { p { "Every rule was judged." } }
        }
    }
}

fn list(what: &str, rules: &[&NotJudged]) -> Markup {
    html! {
        @if !rules.is_empty() {
            details {
                summary { (many(rules.len(), "rule")) " " (what) }
                dl.facts { @for rule in rules {
                    dt id=(rule_anchor(rule.id)) { (rule.id) }
                    dd {
                        (rule.title)
                        @if !rule.unchecked.is_empty() { br; small { (rule.unchecked) } }
                    }
                } }
            }
        }
    }
}
