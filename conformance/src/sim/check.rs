//! A check: a small story in a world of its own, that tells of some rules whether they hold.

use std::pin::Pin;

use super::lab::{Lab, Setup};
use super::{groups, points, policies};
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::rules::RuleLog;

/// How a check goes. `Err`: it did not come to its end, and the core is to blame.
pub(super) type Story<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// One check.
pub(super) struct Check {
    /// What it shows, as a sentence.
    pub(super) says: &'static str,
    /// The rules that it looks at, each of them at least once.
    pub(super) rules: &'static [&'static str],
    /// The world it happens in.
    pub(super) setup: fn() -> Setup,
    /// What happens.
    pub(super) story: for<'a> fn(&'a Lab, &'a mut RuleLog) -> Story<'a>,
}

/// All checks, by what they are about.
fn all() -> impl Iterator<Item = &'static Check> {
    [points::CHECKS, policies::CHECKS, groups::CHECKS].into_iter().flatten()
}

/// Runs every check. What the seed of each is follows from the run's id and the check's words.
pub(super) fn run_all(
    context: &RunContext,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Verdict {
    let total = all().count() as u64;
    let mut verdict = Verdict::Pass;
    for (done, check) in (1..).zip(all()) {
        let (found, why) = run(check, context.chance(check.says) % 1_000_000);
        verdict = verdict.and(found.iter().map(|rule| rule.verdict).fold(Verdict::Pass, Verdict::and));
        if !why.is_empty() && outcome.why.is_empty() {
            outcome.why = why;
        }
        found.into_iter().for_each(|rule| rules.add(rule));
        evidence.progress("rules", "checks", done, total, "checks");
    }
    verdict
}

/// Runs one check. A rule that it promised and did not look at is unknown.
fn run(check: &Check, seed: u64) -> (Vec<crate::outcome::RuleOutcome>, String) {
    let mut log = RuleLog::simulated();
    let ended = standins::sim::run(seed, async |world| {
        let lab = Lab::open(world, (check.setup)())?;
        let told = (check.story)(&lab, &mut log).await;
        let closed = lab.close().await;
        told.and(closed)
    });
    let mut why = String::new();
    if let Err(error) = ended {
        why = format!("{} (seed {seed}): {error}", check.says);
        check.rules.iter().for_each(|rule| log.expect(rule, false, why.clone()));
    }
    for rule in check.rules {
        if !log.looked_at(rule) {
            log.unknown(rule, format!("{}: it was not looked at", check.says));
        }
    }
    (log.into_outcomes(), why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_holds_for_the_built_in_core() {
        for check in all() {
            let (found, why) = run(check, 7);
            for rule in found {
                assert_eq!(rule.verdict, Verdict::Pass, "{}: {}: {} {why}", check.says, rule.id, rule.why);
            }
        }
    }

    #[test]
    fn every_check_promises_rules_of_the_catalogues_form() {
        for check in all() {
            assert!(!check.rules.is_empty(), "{}", check.says);
            for rule in check.rules {
                let (group, number) = rule.split_once('-').unwrap_or_default();
                let well =
                    group.len() == 2 && number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit());
                assert!(well, "{rule}");
            }
        }
    }
}
