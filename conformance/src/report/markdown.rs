//! The summary in Markdown, for the page of a job of continuous integration.

use std::fmt::Write as _;

use contract::Millis;

use super::figures::sign;
use super::reason::{gist, many, reason, worst_first};
use super::rules::JudgedRules;
use crate::outcome::{EdgeOutcome, Results, RuleOutcome, ScenarioOutcome, Verdict};
use crate::rules::Score;

/// Findings of each kind that are shown.
const SHOWN: usize = 10;

pub(super) fn render(results: &Results) -> String {
    let Results { host, run, profile, request, division, .. } = results;
    let mut text = format!("## {} Roundtrip: {}\n\n", sign(results.verdict), results.conclusion());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}\n", escaped(reason(results)));
    findings(&mut text, results);
    text += "| | scenario | took | edges passed | most lost (RPO) | slowest recovery (RTO) | |\n";
    text += "|---|---|--:|--:|--:|--:|---|\n";
    worst_first(results).into_iter().for_each(|scenario| text += &row(scenario));
    let part = division.words().map_or_else(String::new, |words| format!(", {words}"));
    let _ = writeln!(
        text,
        "\nRun {}{part}. {}, {} cores, QEMU {}, profile {}.",
        escaped(run),
        escaped(&host.accelerator),
        host.cores,
        escaped(&host.qemu),
        escaped(profile)
    );
    if !request.command.is_empty() {
        let _ = writeln!(text, "\n```console\n$ {}\n```", request.command.replace("```", "'''"));
    }
    text
}

/// The rules that are broken, then those about which nothing is known, then the regressions.
fn findings(text: &mut String, results: &Results) {
    let rules = JudgedRules::of(results);
    for score in [Score::Broken, Score::Unknown] {
        let all: Vec<_> = rules.scored(&[score]).collect();
        for RuleOutcome { id, title, expected, found, .. } in all.iter().take(SHOWN) {
            let sign = sign(score.verdict());
            let _ = writeln!(text, "- {sign} **{id}** {}: {}", escaped(title), score.words());
            let _ = writeln!(text, "  - expected: {}", escaped(gist(expected)));
            let _ = writeln!(text, "  - found: {}", escaped(gist(found)));
        }
        if all.len() > SHOWN {
            let more = many(all.len() - SHOWN, "more rule");
            let _ = writeln!(text, "- {} {more} {}", sign(score.verdict()), score.words());
        }
    }
    for slow in results.slow() {
        let _ = writeln!(text, "- regression: {}", escaped(gist(slow)));
    }
    if text.ends_with("\n\n") {
        return;
    }
    *text += "\n";
}

fn row(scenario: &ScenarioOutcome) -> String {
    let ScenarioOutcome { name, verdict, why, ms, edges, slow, .. } = scenario;
    let passed = edges.iter().filter(|edge| edge.verdict == Verdict::Pass).count();
    let lost = edges.iter().map(|edge| edge.rpo.ms).max();
    let slowest = edges.iter().max_by_key(|edge| edge.rto.ms).filter(|edge| edge.rto.ms > 0);
    let figure = |figure: Option<String>| figure.unwrap_or_else(|| "–".to_owned());
    let what = match verdict {
        Verdict::Pass if slow.is_empty() => String::new(),
        Verdict::Pass => "regression".to_owned(),
        _ => gist(why),
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} |\n",
        sign(*verdict),
        escaped(name),
        Millis(*ms),
        figure((!edges.is_empty()).then(|| format!("{passed} of {}", edges.len()))),
        figure(lost.map(|ms| Millis(ms).to_string())),
        figure(slowest.map(recovery)),
        escaped(what),
    )
}

/// `7.4 s, 1.4 boots`. Simulated guests have no cold boot to compare with.
fn recovery(edge: &EdgeOutcome) -> String {
    let took = Millis(edge.rto.ms);
    if edge.rto.boots > 0.0 { format!("{took}, {:.1} boots", edge.rto.boots) } else { took.to_string() }
}

/// Text of a core or of the suite as it stands, in a cell or a line of Markdown.
fn escaped(text: impl AsRef<str>) -> String {
    let mut plain = String::new();
    for character in text.as_ref().chars() {
        match character {
            '\n' | '\r' => plain.push(' '),
            '&' => plain += "&amp;",
            '<' => plain += "&lt;",
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' => plain.extend(['\\', character]),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_run_that_passed_says_so_with_its_figures() {
        let mut results = samples::passing();
        "cargo xtask conformance --tier real".clone_into(&mut results.request.command);
        let text = render(&results);
        assert!(text.starts_with("## ✓ Roundtrip: conforms\n"), "{text}");
        let row = text.lines().find(|line| line.contains("azure-azure")).unwrap();
        assert!(row.contains("4 of 4") && row.contains("boots"), "{row}");
        assert!(text.contains("$ cargo xtask conformance"), "{text}");
    }

    #[test]
    fn what_failed_comes_before_the_table() {
        for results in [samples::failing(), samples::unknown()] {
            let text = render(&results);
            let rule = results.rules.iter().find(|rule| rule.score.verdict() > Verdict::Pass).unwrap();
            let (finding, table) = (text.find(rule.id.as_str()).unwrap(), text.find("| scenario").unwrap());
            assert!(finding < table && text.contains("found: "), "{text}");
        }
    }

    #[test]
    fn every_row_has_the_columns_of_the_table_whatever_a_core_says() {
        let mut results = samples::failing();
        results.scenarios[0].why = "a | b\n<script> `x` \\|".to_owned();
        let text = render(&results);
        assert!(!text.contains("<script>"), "{text}");
        let bars = |line: &str| line.replace("\\\\", "").replace("\\|", "").matches('|').count();
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.iter().all(|row| bars(row) == 8), "{rows:#?}");
    }

    #[test]
    fn a_regression_is_named() {
        let mut results = samples::passing();
        results.scenarios[0].slow.push("failover took 9 boots".to_owned());
        assert!(render(&results).contains("- regression: failover took 9 boots"));
    }
}
