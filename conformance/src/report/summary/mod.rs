//! The summary on the terminal: what failed first, then one line for each scenario. It fits one
//! screen; [`Detail::Tables`] adds every edge and every rule.

mod tables;

use std::fmt::Write as _;

use camino::Utf8Path;
use contract::Millis;

use super::figures::sign;
use super::reason::{gist, many, reason, worst_first};
use super::rules::{JudgedRules, count};
use crate::outcome::{HostFacts, Results, RuleOutcome, ScenarioOutcome, Verdict};
use crate::rules::Score;

/// How much the summary says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One line for each scenario, and what failed.
    Lines,
    /// All edges and rules, in tables.
    Tables,
}

/// Findings that are shown whole without [`Detail::Tables`].
const SHOWN: usize = 4;

/// The summary of the run whose reports are in `dir`, without escape codes.
pub(super) fn render(results: &Results, dir: &Utf8Path, detail: Detail) -> String {
    let mut text = String::new();
    let scenarios = worst_first(results);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\nRoundtrip · {}", host_line(&results.host));
    let part = results.division.words().map_or_else(String::new, |words| format!(" · {words}"));
    let _ = writeln!(text, "  profile {}{part}", results.profile);
    if !results.host.accelerator_why.is_empty() {
        let _ = writeln!(text, "  not KVM: {}", cause(&results.host.accelerator_why));
    }
    match detail {
        Detail::Tables => {
            scenarios.iter().for_each(|scenario| tables::scenario_block(&mut text, scenario));
            tables::rules_block(&mut text, results);
        }
        Detail::Lines => {
            findings(&mut text, results);
            scenario_lines(&mut text, &scenarios);
            rule_line(&mut text, results);
        }
    }
    for slow in results.slow() {
        let _ = writeln!(
            text,
            "   regression: {}",
            if detail == Detail::Tables { slow.clone() } else { gist(slow) }
        );
    }
    let _ = writeln!(text, "\n{}  {}", sign(results.verdict), results.conclusion());
    let _ = writeln!(text, "   {}", reason(results));
    let _ = writeln!(text, "   report {}", dir.join("report.html"));
    text
}

/// The first broken rules, then the first unknown ones, with what was expected and what was found.
fn findings(text: &mut String, results: &Results) {
    let rules = JudgedRules::of(results);
    for score in [Score::Broken, Score::Unknown] {
        let all: Vec<_> = rules.scored(&[score]).collect();
        for RuleOutcome { id, title, tier, expected, found, .. } in all.iter().take(SHOWN) {
            let _ = writeln!(text, "\n{} {id} {title}", sign(score.verdict()));
            let _ = writeln!(text, "    {} ({} tier)", score.words(), tier.as_str());
            let _ = writeln!(text, "    expected: {}", gist(expected));
            let _ = writeln!(text, "    found:    {}", gist(found));
        }
        if all.len() > SHOWN {
            let more = many(all.len() - SHOWN, "more rule");
            let _ = writeln!(
                text,
                "\n{} {more} {}: --verbose or report.html",
                sign(score.verdict()),
                score.words()
            );
        }
    }
}

/// One line for each scenario, the worst first.
fn scenario_lines(text: &mut String, scenarios: &[&ScenarioOutcome]) {
    let width = scenarios.iter().map(|scenario| scenario.name.chars().count()).max().unwrap_or_default();
    let _ = writeln!(text);
    for scenario in scenarios {
        let ScenarioOutcome { name, verdict, ms, .. } = scenario;
        let what = if *verdict == Verdict::Pass { measured(scenario) } else { short(&scenario.why) };
        let took = Millis(*ms).to_string();
        let slow = if scenario.slow.is_empty() { "" } else { "  REGRESSION" };
        let _ = writeln!(text, "{} {name:<width$}  {took:>8}  {what}{slow}", sign(*verdict));
    }
}

/// `4 edges · lost up to 599 ms · recovered within 7.5 s, 1.4 boots`.
fn measured(scenario: &ScenarioOutcome) -> String {
    let edges = &scenario.edges;
    let lost = edges.iter().map(|edge| edge.rpo.ms).max().unwrap_or_default();
    let slowest = edges.iter().max_by_key(|edge| edge.rto.ms);
    let Some(slowest) = slowest.filter(|edge| edge.rto.ms > 0) else {
        return many(scenario.rules.len(), "rule");
    };
    let lost = if lost == 0 { "nothing lost".to_owned() } else { format!("lost up to {}", Millis(lost)) };
    let (count, rto) = (many(edges.len(), "edge"), &slowest.rto);
    // Simulated guests have no cold boot to compare with.
    let boots = if rto.boots > 0.0 { format!(", {:.1} boots", rto.boots) } else { String::new() };
    format!("{count} · {lost} · recovered within {}{boots}", Millis(rto.ms))
}

/// The longest reason that fits the line of a scenario.
const COLUMNS: usize = 70;

fn short(why: &str) -> String {
    let why = gist(why);
    match why.char_indices().nth(COLUMNS) {
        Some((end, _)) => format!("{}…", why[..end].trim_end()),
        None => why,
    }
}

/// The rules in one line.
fn rule_line(text: &mut String, results: &Results) {
    let rules = JudgedRules::of(results);
    let _ = writeln!(
        text,
        "\n   rules: {} held, {} broken, {} unknown, {} skipped, {} not judged · {} of {} limits as documented",
        count(rules.deciding(), Score::Held),
        count(rules.deciding(), Score::Broken),
        rules.scored(&[Score::Unknown]).count(),
        rules.scored(&[Score::Skipped]).count(),
        results.not_judged.len(),
        count(rules.limitations(), Score::AsDocumented),
        rules.limitations().count(),
    );
}

/// The test host in one line.
fn host_line(host: &HostFacts) -> String {
    let HostFacts { kernel, cores, qemu, libvirt, accelerator, boot_ms, .. } = host;
    format!(
        "{cores} cores, Linux {kernel}, QEMU {qemu}, libvirt {libvirt}, {accelerator} (trial boot {boot_ms} ms)"
    )
}

/// The end of the first line: an error begins with its context, and its cause comes last.
fn cause(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.rsplit("error: ").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn lines(results: &Results) -> String {
        render(results, Utf8Path::new("run"), Detail::Lines)
    }

    #[test]
    fn a_run_of_all_scenarios_fits_one_screen() {
        let mut results = samples::failing();
        let one = results.scenarios[0].clone();
        for number in 0..30 {
            let mut another = one.clone();
            another.name = format!("another-{number}");
            another.verdict = Verdict::Pass;
            results.scenarios.push(another);
        }
        let text = lines(&results);
        assert!(text.lines().count() <= 50, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 260), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("✓ another-")).count(), 30);
    }

    #[test]
    fn what_failed_comes_first_with_what_was_expected_and_found() {
        let results = samples::failing();
        let text = lines(&results);
        let broken = text.find("found:    3 points left").expect("the finding");
        assert!(
            broken < text.find(&format!("✗ {}", results.scenarios[0].name)).expect("the scenario"),
            "{text}"
        );
        assert!(text.contains("does not conform\n   ") && text.contains("report run/report.html"), "{text}");
    }

    #[test]
    fn neither_form_has_escape_codes() {
        for detail in [Detail::Lines, Detail::Tables] {
            assert!(!render(&samples::failing(), Utf8Path::new("run"), detail).contains('\u{1b}'));
        }
    }

    #[test]
    fn a_regression_marks_its_scenario() {
        let mut results = samples::passing();
        results.scenarios[0].slow.push("failover took 9 boots\nmore".to_owned());
        let text = lines(&results);
        assert!(
            text.contains("  REGRESSION\n") && text.contains("regression: failover took 9 boots\n"),
            "{text}"
        );
    }
}
