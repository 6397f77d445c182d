//! The section of one scenario: its timeline, its edges, its machines and its rules.

use camino::Utf8Path;
use maud::{Markup, PreEscaped, html};

use super::parts::{class, command, duration, evidence_links, heading, rule_link, scenario_anchor};
use super::screens::Budget;
use super::{edges, screens};
use crate::foreign_files;
use crate::outcome::{LeftDisk, Results, RuleOutcome, ScenarioOutcome, Verdict};
use crate::report::reason::gist;
use crate::report::speeds::{depths, speed_line};
use crate::report::timeline::{LEGEND, Size, draw, words_of};
use crate::timeline::Timeline;

pub(super) fn section(
    results: &Results,
    scenario: &ScenarioOutcome,
    dir: &Utf8Path,
    budget: &mut Budget,
) -> Markup {
    let ScenarioOutcome { name, title, verdict, edges, speeds, disks_left, .. } = scenario;
    html! {
        section.scenario id=(scenario_anchor(name)) {
            (heading(name, *verdict))
            @if !title.is_empty() { p { (title) "." } }
            (why(scenario))
            (facts(results, scenario, dir))
            (timeline(&Timeline::of_scenario(dir, name), name))
            (edges::cards(edges))
            @for depth in depths(speeds) { p { (speed_line(speeds, depth)) } }
            @if let Ok(dir) = foreign_files::inside(dir, name) { (screens::figures(&dir, budget)) }
            (rules(&scenario.rules))
            @if !disks_left.is_empty() { (disks(disks_left)) }
        }
    }
}

fn why(scenario: &ScenarioOutcome) -> Markup {
    let ScenarioOutcome { why, slow, remarks, verdict, .. } = scenario;
    let long = |text: &str| text.lines().count() > 1;
    html! {
        @if !why.is_empty() && long(why) {
            details open { summary class=(class(*verdict)) { (gist(why)) } pre { (why) } }
        } @else if !why.is_empty() { p class=(class(*verdict)) { (why) } }
        @for slow in slow {
            @if long(slow) {
                details { summary.unknown { "regression: " (gist(slow)) } pre { (slow) } }
            } @else { p.unknown { "regression: " (slow) } }
        }
        @for remark in remarks { p.soft { (remark) } }
    }
}

fn facts(results: &Results, scenario: &ScenarioOutcome, dir: &Utf8Path) -> Markup {
    let ScenarioOutcome { name, core, mutant, seeds, .. } = scenario;
    let files = ["result.json", "log.jsonl", "core.log"].map(|file| format!("{name}/{file}"));
    html! {
        dl.facts {
            @if !core.is_empty() {
                dt { "core" }
                dd { (core) @if let Some(mutant) = mutant { ", with an injected fault: " code { (mutant) } } }
            }
            dt { "took" } dd { (duration(scenario)) }
            @if let Some(seeds) = seeds {
                dt { "seeds" } dd { (seeds.count) ", from " (seeds.first) " on" }
            }
            dt { "evidence" } dd { (evidence_links(dir, &files)) }
            dt { "again" } dd { (command(&results.request.repeat(name))) }
        }
    }
}

/// The plot, once for a wide page and once for a narrow one, and its steps as a table.
fn timeline(timeline: &Timeline, name: &str) -> Markup {
    if timeline.is_empty() {
        return html! {};
    }
    let words = words_of(timeline);
    let plots = [("wide", Size::Wide), ("narrow", Size::Narrow)].map(|(class, size)| {
        // A plot that cannot be drawn is no reason to lose the page.
        let svg = draw(timeline, size).unwrap_or_default();
        (class, inline(&svg))
    });
    html! {
        figure.plot {
            @for (class, svg) in &plots {
                div class=(class) role="img" aria-label=(words) { (PreEscaped(svg)) }
            }
            figcaption {
                "Timeline of " (name) ": "
                @for (index, edge) in timeline.edge_names().iter().enumerate() {
                    @if index > 0 { " · " }
                    (index + 1) " " (edge)
                }
            }
            ul.legend aria-label="Colours" {
                @for (kind, words) in LEGEND {
                    @let (red, green, blue) = kind.rgb();
                    li { i style={ "background:rgb(" (red) " " (green) " " (blue) ")" } {} (words) }
                }
            }
        }
        details {
            summary { (timeline.steps.len()) " steps with their times" }
            table {
                thead { tr {
                    th scope="col" { "edge or phase" } th scope="col" { "step" }
                    th.n scope="col" { "from" } th.n scope="col" { "took" }
                } }
                tbody { @for step in &timeline.steps { tr {
                    td { (step.edge) }
                    td { (step.name) @if step.failed { " " span.fail { "failed" } } }
                    td.n { (seconds(step.from)) }
                    td.n { @match step.to {
                        Some(to) => (seconds(to.saturating_sub(step.from))),
                        None => span.fail { "did not end" },
                    } }
                } } }
            }
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

/// The drawing without what only a file of its own needs; its label names it.
pub(super) fn inline(svg: &str) -> String {
    let at = svg.find("<svg").unwrap_or_default();
    svg[at..].replacen("<svg", "<svg aria-hidden=\"true\" focusable=\"false\"", 1)
}

/// The rules of the scenario by their score, the worst first.
fn rules(rules: &[RuleOutcome]) -> Markup {
    if rules.is_empty() {
        return html! {};
    }
    let mut scores: Vec<_> = rules.iter().map(|rule| (rule.score.verdict(), rule.score.words())).collect();
    scores.sort_by(|a, b| b.cmp(a));
    scores.dedup();
    html! {
        h4 { "Rules" }
        dl.facts {
            @for (verdict, words) in scores {
                @let of_score: Vec<_> = rules.iter().filter(|rule| rule.score.words() == words).collect();
                dt class=(class(verdict)) { (of_score.len()) " " (words) }
                dd { @for rule in of_score { (rule_link(rule.id)) " " } }
            }
        }
    }
}

fn disks(disks: &[LeftDisk]) -> Markup {
    let bad = |disk: &&LeftDisk| disk.checked != Verdict::Pass || disk.readable != Verdict::Pass;
    let found = match disks.iter().filter(bad).count() {
        0 => "all intact".to_owned(),
        bad => format!("{bad} not intact"),
    };
    html! {
        details {
            summary { (disks.len()) " disk images checked: " (found) }
            table.stack {
                thead { tr {
                    th scope="col" { "volume" } th scope="col" { "site" } th scope="col" { "when" }
                    th scope="col" { "check" } th scope="col" { "read as" }
                } }
                tbody { @for disk in disks { tr {
                    th scope="row" { code { (disk.volume) } }
                    td data-label="site" { (disk.site) } td data-label="when" { (disk.when) }
                    td class=(class(disk.checked)) data-label="check" { (disk.check) }
                    td class=(class(disk.readable)) data-label="read as" { (disk.info) }
                } } }
            }
        }
    }
}
