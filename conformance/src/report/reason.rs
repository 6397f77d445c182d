//! The reason of a run's verdict, in one sentence.

use super::rules::{JudgedRules, count};
use crate::outcome::{Results, ScenarioOutcome, Verdict};
use crate::rules::Score;

/// The longest finding that is repeated whole.
const LONGEST: usize = 240;

/// Why the run has its verdict.
pub(crate) fn reason(results: &Results) -> String {
    match results.verdict {
        Verdict::Pass => passed(results),
        Verdict::Fail => failed(results),
        Verdict::Unknown => unknown(results),
        Verdict::Skipped => skipped(results),
    }
}

/// The scenarios, those that need attention first.
pub(super) fn worst_first(results: &Results) -> Vec<&ScenarioOutcome> {
    let mut scenarios: Vec<_> = results.scenarios.iter().collect();
    scenarios.sort_by_key(|scenario| {
        let slow = !scenario.slow.is_empty();
        let rank = match scenario.verdict {
            Verdict::Fail => 0,
            Verdict::Unknown => 1,
            Verdict::Pass if slow => 2,
            Verdict::Skipped => 3,
            Verdict::Pass => 4,
        };
        (rank, scenario.name.as_str())
    });
    scenarios
}

fn passed(results: &Results) -> String {
    let rules = JudgedRules::of(results);
    let held = count(rules.deciding(), Score::Held);
    let with = |verdict| results.scenarios.iter().filter(|scenario| scenario.verdict == verdict).count();
    let mut text =
        format!("{} passed and {} held", many(with(Verdict::Pass), "scenario"), many(held, "rule"));
    if with(Verdict::Skipped) > 0 {
        let skipped = many(with(Verdict::Skipped), "scenario");
        text += &format!("; {skipped} need what the core does not have");
    }
    let slow: Vec<_> = results.slow().collect();
    if let Some(first) = slow.first() {
        text += &format!(", with {}: {}", many(slow.len(), "regression"), gist(first));
    }
    ended(text)
}

fn failed(results: &Results) -> String {
    let rules = JudgedRules::of(results);
    let broken: Vec<_> = rules.scored(&[Score::Broken]).collect();
    let Some(first) = broken.first() else { return with_verdict(results, Verdict::Fail) };
    let rule = first.title.trim_end_matches('.');
    let broken = match broken.len() - 1 {
        0 => format!("{} is broken ({rule})", first.id),
        1 => format!("{} ({rule}) and one more rule are broken", first.id),
        others => format!("{} ({rule}) and {} are broken", first.id, many(others, "more rule")),
    };
    format!("{broken}: {}", sentence(&first.found))
}

fn unknown(results: &Results) -> String {
    with_verdict(results, Verdict::Unknown)
}

/// The first scenario with a verdict, how many others have it, and why.
fn with_verdict(results: &Results, verdict: Verdict) -> String {
    let mut named = results.scenarios.iter().filter(|scenario| scenario.verdict == verdict);
    let Some(first) = named.next() else { return "There is no scenario.".to_owned() };
    let word = if verdict == Verdict::Fail { "failed" } else { "is unknown" };
    let others = match named.count() {
        0 => String::new(),
        others => format!(", like {}", if others == 1 { "one other".into() } else { many(others, "other") }),
    };
    format!("{} {word}{others}: {}", first.name, sentence(&first.why))
}

fn skipped(results: &Results) -> String {
    let why = results.scenarios.first().map_or("", |scenario| scenario.why.as_str());
    format!("No scenario was judged: {}", sentence(why))
}

/// `1 rule`, `3 rules`.
pub(crate) fn many(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The beginning of a finding, which may have many lines.
pub(super) fn gist(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason is given").trim();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

fn sentence(text: &str) -> String {
    ended(gist(text))
}

/// With a full stop, unless it has an end.
fn ended(text: String) -> String {
    if text.ends_with(['.', '…', '?']) { text } else { text + "." }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn every_verdict_has_one_sentence_with_its_cause() {
        let passed = reason(&samples::passing());
        assert!(passed.starts_with("1 scenario passed and ") && passed.ends_with(" rules held."), "{passed}");
        let failed = reason(&samples::failing());
        assert!(failed.contains(" is broken (") && failed.ends_with("): 3 points left."), "{failed}");
        let unknown = reason(&samples::unknown());
        assert!(unknown.contains(" is unknown: ") && unknown.contains("the guest did not boot"), "{unknown}");
    }

    #[test]
    fn a_regression_is_part_of_the_reason_of_a_pass() {
        let mut results = samples::passing();
        results.scenarios[0].slow.push("failover took 9 boots".to_owned());
        assert!(reason(&results).ends_with("with 1 regression: failover took 9 boots."));
    }

    #[test]
    fn a_long_finding_is_cut_and_a_missing_one_is_said() {
        assert_eq!(gist(&"é".repeat(999)).chars().count(), LONGEST + 1);
        assert_eq!(gist("\n\n"), "no reason is given");
    }

    #[test]
    fn what_needs_attention_comes_first() {
        let mut results = samples::failing();
        let mut good = results.scenarios[0].clone();
        good.name = "a-good-one".to_owned();
        good.verdict = Verdict::Pass;
        results.scenarios.insert(0, good);
        assert_eq!(worst_first(&results)[0].verdict, Verdict::Fail);
    }
}
