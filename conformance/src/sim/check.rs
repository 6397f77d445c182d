//! A check: a small story in a world of its own, that tells of some rules whether they hold.

use std::pin::Pin;

use super::checks::all;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::mutants::InjectedFault;
use crate::outcome::{RuleOutcome, ScenarioOutcome, Verdict};
use crate::rules::{RuleId, RuleLog};
use crate::sim::testbed::{Setup, Testbed, in_memory};

/// How a check goes. `Err`: it did not come to its end, and the core is to blame.
pub(crate) type Story<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// One check.
pub(crate) struct Check {
    /// What it shows, as a sentence.
    pub(crate) says: &'static str,
    /// The rules that it looks at, each of them at least once.
    pub(crate) rules: &'static [RuleId],
    /// The world it happens in.
    pub(crate) setup: fn() -> Setup,
    /// What happens.
    pub(crate) story: for<'a> fn(&'a Testbed, &'a mut RuleLog) -> Story<'a>,
}

/// Runs every check. What the seed of each is follows from the run's id and the check's words; `ROUNDTRIP_SEED` gives
/// all of them one and the same, so that what failed can be run again.
pub(crate) fn run_all(
    context: &RunContext,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Verdict {
    let dose = match InjectedFault::for_checks(context.mutant.as_deref()) {
        Ok(fault) => fault,
        Err(error) => {
            outcome.why = error.to_string();
            return Verdict::Unknown;
        }
    };
    let total = all().count() as u64;
    let mut verdict = Verdict::Pass;
    for (done, check) in (1..).zip(all()) {
        let (found, why) = run(check, seed().unwrap_or(context.chance(check.says) % 1_000_000), &dose);
        verdict = verdict.and(found.iter().map(|rule| rule.verdict).fold(Verdict::Pass, Verdict::and));
        if !why.is_empty() && outcome.why.is_empty() {
            outcome.why = why;
        }
        found.into_iter().for_each(|rule| rules.add(rule));
        evidence.progress("rules", "checks", done, total, "checks");
    }
    verdict
}

/// The seed that was asked for.
fn seed() -> Option<u64> {
    std::env::var("ROUNDTRIP_SEED").ok()?.parse().ok()
}

/// Runs every check that looks at one of `rules` against a core with a fault, and returns all
/// rules that these checks found broken.
#[cfg(test)]
pub(crate) fn broken_rules(rules: &[RuleId], fault: &InjectedFault, seed: u64) -> Vec<RuleId> {
    let mut log = RuleLog::simulated();
    let concerned = |check: &&Check| check.rules.iter().any(|rule| rules.contains(rule));
    for check in all().filter(concerned) {
        run(check, seed, fault).0.into_iter().for_each(|rule| log.add(rule));
    }
    let broken = log.into_outcomes().into_iter().filter(|rule| rule.verdict == Verdict::Fail);
    broken.map(|rule| rule.id).collect()
}

/// Runs one check. A rule that it promised and did not look at is unknown.
fn run(check: &Check, seed: u64, dose: &InjectedFault) -> (Vec<RuleOutcome>, String) {
    let mut log = RuleLog::simulated();
    let told = |why: &str| format!("{}: {why} (ROUNDTRIP_SEED={seed} runs it again)", check.says);
    match in_memory() {
        Ok(dir) => {
            let ended = simulator::run(seed, async |world| {
                let lab = Testbed::open(world, (check.setup)(), dose, dir)?;
                let told = (check.story)(&lab, &mut log).await;
                let closed = lab.close().await;
                told.and(closed)
            });
            if let Err(error) = ended {
                broke_off(check, &mut log, &error);
            }
        }
        // That is the host's, and no core's.
        Err(error) => check.rules.iter().for_each(|rule| log.unknown(*rule, error.clone())),
    }
    for rule in check.rules {
        if !log.looked_at(*rule) {
            log.unknown(*rule, "it was not looked at");
        }
    }
    let mut found = log.into_outcomes();
    for rule in found.iter_mut().filter(|rule| rule.verdict != Verdict::Pass) {
        rule.found = told(&rule.found);
    }
    let worst = found.iter().filter(|rule| rule.verdict != Verdict::Pass).max_by_key(|rule| rule.verdict);
    let why = worst.map_or_else(String::new, |rule| rule.found.clone());
    (found, why)
}

/// A story that did not come to its end. If a rule was broken on the way, that is why, and of the others nothing can be
/// said; if none was, the core failed at what all of them take for granted.
fn broke_off(check: &Check, log: &mut RuleLog, error: &str) {
    let explained = log.broken().is_some();
    for rule in check.rules {
        match explained {
            true => log.unknown(*rule, format!("it ended early: {error}")),
            false => log.check(*rule, false, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_holds_for_the_built_in_core() {
        let mut broken = Vec::new();
        for check in all() {
            let (found, _) = run(check, seed().unwrap_or(7), &InjectedFault::default());
            broken.extend(found.into_iter().filter(|rule| rule.verdict != Verdict::Pass));
        }
        let broken: Vec<_> = broken.into_iter().map(|rule| format!("{}: {}", rule.id, rule.found)).collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn every_check_promises_rules() {
        for check in all() {
            assert!(!check.rules.is_empty(), "{}", check.says);
        }
    }
}
