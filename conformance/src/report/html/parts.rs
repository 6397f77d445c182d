//! Small parts of the page that its sections share.

use camino::Utf8Path;
use contract::Millis;
use maud::{Markup, PreEscaped, html};

use crate::outcome::{RuleOutcome, ScenarioOutcome, Verdict};
use crate::report::figures::sign;
use crate::rules::RuleId;

const STYLE: &str = include_str!("style.css");

/// The head of a page that needs no other file.
pub(super) fn page_head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            // Without it a browser asks for a file beside the page.
            link rel="icon" href="data:,";
            title { (title) }
            style { (PreEscaped(STYLE)) }
        }
    }
}

/// The class of a verdict in the style sheet.
pub(super) fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
        Verdict::Skipped => "skipped",
    }
}

/// A verdict in a frame of its colour. The sign and the word say it too.
pub(super) fn badge(verdict: Verdict) -> Markup {
    let word = match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
        Verdict::Skipped => "skipped",
    };
    html! { span class={ "badge " (class(verdict)) } { (sign(verdict)) " " (word) } }
}

/// The mark of a scenario that passed with a regression.
pub(super) fn regression(scenario: &ScenarioOutcome) -> Markup {
    html! { @if !scenario.slow.is_empty() { " " span class="badge unknown" { "↓ regression" } } }
}

/// The heading of something that has a verdict.
pub(super) fn heading(name: &str, verdict: Verdict) -> Markup {
    html! { h3 { (name) " " (badge(verdict)) } }
}

/// The score of a rule.
pub(super) fn score(rule: &RuleOutcome) -> Markup {
    html! { span class=(class(rule.score.verdict())) { (rule.score.words()) } }
}

/// The anchor of a scenario on the page.
pub(super) fn scenario_anchor(name: &str) -> String {
    format!("scenario-{name}")
}

/// A link to a scenario on the page.
pub(super) fn scenario_link(scenario: &ScenarioOutcome) -> Markup {
    html! { a href={ "#" (scenario_anchor(&scenario.name)) } { (scenario.name) } }
}

/// The anchor of a rule on the page.
pub(super) fn rule_anchor(id: RuleId) -> String {
    format!("rule-{id}")
}

/// A link to a rule on the page.
pub(super) fn rule_link(id: RuleId) -> Markup {
    html! { a href={ "#" (rule_anchor(id)) } { (id) } }
}

/// Links to files of the evidence that exist, relative to the page. `paths` are relative to `dir`.
pub(super) fn evidence_links(dir: &Utf8Path, paths: &[String]) -> Markup {
    let present: Vec<_> = paths.iter().filter(|path| dir.join(path).exists()).collect();
    html! {
        @if present.is_empty() { span.soft { "not beside this page" } }
        @for (index, path) in present.iter().enumerate() {
            @if index > 0 { " · " }
            a href=(path) { (path) }
        }
    }
}

/// A command for a shell.
pub(super) fn command(line: &str) -> Markup {
    html! { pre { code { (line) } } }
}

/// `1.4 × a cold boot`.
pub(super) fn in_boots(boots: f64) -> String {
    format!("{boots:.1} × a cold boot")
}

/// The whole duration of a scenario, and what that is in its own cold boots.
pub(super) fn duration(scenario: &ScenarioOutcome) -> String {
    let boots: u64 = scenario.boots_ms.iter().sum();
    let ratio = scenario.ms as f64 / boots.max(1) as f64;
    match scenario.boots_ms.len() {
        0 => Millis(scenario.ms).to_string(),
        1 => format!("{}, {ratio:.1} × its cold boot", Millis(scenario.ms)),
        number => format!("{}, {ratio:.1} × its {number} cold boots", Millis(scenario.ms)),
    }
}
