//! The report as one self-contained HTML page.

use contract::{Bytes, Millis};
use maud::{DOCTYPE, Markup, html};

use super::rules::JudgedRules;
use super::summary::{claimed, depths, grouped, host_line, speed_line};
use crate::outcome::{EdgeOutcome, LeftDisk, NotJudged, Results, RuleOutcome, ScenarioOutcome, Verdict};

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1d2330; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #dfe3ea; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.pass { color: #12703c; } .fail { color: #b3261e; } .unknown { color: #8a5a00; }
.badge { font-weight: 600; } small, .soft { color: #5b6475; }
.bar { display: flex; height: 1.1rem; border-radius: 3px; overflow: hidden; background: #eef1f6; }
.bar span { min-width: 1px; } code { background: #f2f4f8; padding: 0 .25rem; }
";
/// Colours of the parts of a recovery time, in order.
const COLOURS: [&str; 6] = ["#4a6fa5", "#86a873", "#d9a441", "#b5651d", "#8e6c8a", "#5f9ea0"];

pub(super) fn render(results: &Results) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Roundtrip · " (results.run) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Roundtrip " span class={ "badge " (class(results.verdict)) } { (results.conclusion()) } }
                p.soft { (results.suite) " · run " (results.run) " · " (results.reported) }
                p.soft { (host_line(&results.host)) ". Platforms are stand-ins made of QEMU guests." }
                p.soft { "External facts: profile " code { (results.profile) } "." }
                @for scenario in &results.scenarios { (scenario_section(scenario)) }
                (rule_sections(results))
            }
        }
    };
    page.into_string()
}

fn badge(verdict: Verdict) -> Markup {
    let word = match verdict {
        Verdict::Pass => "conforms",
        Verdict::Fail => "does not conform",
        Verdict::Unknown => "unknown",
    };
    html! { span class={ "badge " (class(verdict)) } { (word) } }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
    }
}

fn scenario_section(scenario: &ScenarioOutcome) -> Markup {
    let boots: u64 = scenario.boots_ms.iter().sum();
    html! {
        h2 { (scenario.name) " " (badge(scenario.verdict)) }
        p { (scenario.title) ". Core: " (scenario.core)
            @if let Some(mutant) = &scenario.mutant { ", with an injected fault: " code { (mutant) } }
            ". " (Millis(scenario.ms)) " in total"
            @if boots > 0 { ", " (format!("{:.1}", scenario.ms as f64 / boots as f64)) " × its cold boots" }
            "." }
        @for remark in &scenario.remarks { p.soft { (remark) } }
        @for slow in &scenario.slow { p.unknown { "regression: " (slow) } }
        @if !scenario.why.is_empty() { p.fail { (scenario.why) } }
        table {
            thead { tr {
                th { "edge" } th { "disk" } th { "oracle" } th { "second reader" } th { "lost" } th { "took" }
            } }
            tbody { @for edge in &scenario.edges { (edge_rows(edge)) } }
        }
        @for depth in depths(&scenario.speeds) { p { (speed_line(&scenario.speeds, depth)) } }
        @if !scenario.disks_left.is_empty() { (disks_left(&scenario.disks_left)) }
    }
}

fn disks_left(disks: &[LeftDisk]) -> Markup {
    html! {
        details {
            summary { (disks.len()) " disk images checked" }
            table {
                thead { tr { th { "site" } th { "volume" } th { "when" } th { "check" } th { "read as" } } }
                tbody { @for disk in disks {
                    tr {
                        td { (disk.site) } td { code { (disk.volume) } } td { (disk.when) }
                        td class=(class(disk.checked)) { (disk.check) }
                        td class=(class(disk.readable)) { (disk.info) }
                    }
                } }
            }
        }
    }
}

fn edge_rows(edge: &EdgeOutcome) -> Markup {
    let span = edge.disks.len().max(1);
    html! {
        @for (index, disk) in edge.disks.iter().enumerate() {
            tr {
                @if index == 0 {
                    td rowspan=(span) { b { (edge.name) } " " (badge(edge.verdict)) }
                }
                td { (disk.name) }
                td { (disk.words) br; small { (Bytes(disk.compared)) " compared" } }
                td { small { (disk.second_reader) } }
                @if index == 0 {
                    td.n rowspan=(span) { (lost(edge)) }
                    td rowspan=(span) { (took(edge)) }
                }
            }
        }
        @if let Some(flip) = &edge.flip {
            tr { td {} td colspan="5" { small { "test of the oracle: it reported the altered sectors (" (flip) ")" } } }
        }
    }
}

fn lost(edge: &EdgeOutcome) -> Markup {
    let rpo = edge.rpo;
    html! {
        @if rpo.records == 0 && rpo.writes == 0 { "nothing" } @else {
            (Millis(rpo.ms)) br;
            small { (grouped(rpo.records)) " records" br; (grouped(rpo.writes)) " writes" br; (Bytes(rpo.bytes)) }
        }
        @if let Some(claimed) = claimed(&rpo) { br; small { (claimed) } }
    }
}

fn took(edge: &EdgeOutcome) -> Markup {
    let total = edge.rto.steps.iter().map(|step| step.ms).sum::<u64>().max(1);
    let steps: Vec<_> = edge.rto.steps.iter().filter(|step| step.ms > 0).collect();
    html! {
        (Millis(edge.rto.ms)) small { " · " (format!("{:.1}", edge.rto.boots)) " boots" }
        div.bar { @for (index, step) in steps.iter().enumerate() {
            span title={ (step.name) ": " (Millis(step.ms)) }
                style={ "flex:" (step.ms * 1000 / total) ";background:" (COLOURS[index % COLOURS.len()]) } {}
        } }
        small { @for step in &steps { (step.name) " " (Millis(step.ms)) br; } }
    }
}

/// All rules: those that decide the verdict, limits and advice apart from them, and those that were
/// not judged.
fn rule_sections(results: &Results) -> Markup {
    let judged = JudgedRules::of(results);
    let (unchecked, left_out): (Vec<_>, Vec<_>) =
        results.not_judged.iter().partition(|rule| !rule.unchecked.is_empty());
    html! {
        h2 { "Rules" }
        (rules(judged.deciding()))
        h2 { "Documented limits" }
        p.soft { "A core that differs from a documented limit may be better, and does not fail." }
        (rules(judged.limitations()))
        h2 { "Advice" }
        p.soft { "Advice never fails a core." }
        (rules(judged.advice()))
        h2 { "Not judged in this run" }
        (not_judged("rules that have a check, which this run left out", &left_out))
        (not_judged("rules that have no check", &unchecked))
    }
}

fn rules<'a>(rules: impl Iterator<Item = &'a RuleOutcome>) -> Markup {
    html! {
        table {
            thead { tr { th { "rule" } th { "tier" } th { "result" } th { "expected" } th { "found" } } }
            tbody { @for rule in rules {
                tr {
                    td { code { (rule.id) } " " (rule.title) }
                    td { (rule.tier.as_str()) }
                    td { span class={ "badge " (class(rule.score.verdict())) } { (rule.score.words()) } }
                    td { small { (rule.expected) } }
                    td { (rule.found) }
                }
            } }
        }
    }
}

fn not_judged(what: &str, rules: &[&NotJudged]) -> Markup {
    html! {
        details {
            summary { (rules.len()) " " (what) }
            table { tbody { @for rule in rules {
                tr {
                    td { code { (rule.id) } " " (rule.title) }
                    @if !rule.unchecked.is_empty() { td { (rule.unchecked) } }
                }
            } } }
        }
    }
}
