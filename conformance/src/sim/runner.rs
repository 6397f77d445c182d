//! Runs checks and turns their ends into verdicts.

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::mutants::InjectedFault;
use crate::outcome::{RuleOutcome, ScenarioOutcome, Verdict};
use crate::rules::{RuleId, RuleLog};
use crate::sim::check::Check;
use crate::sim::checks::all;
use crate::sim::testbed;

/// Runs every check. The seed of a check follows from the run's id and the check's name;
/// `ROUNDTRIP_SEED` gives all checks one seed instead, so that a failure can be repeated.
pub(crate) fn run_all(
    context: &RunContext,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Verdict {
    let fault = match InjectedFault::for_checks(context.mutant.as_deref()) {
        Ok(fault) => fault,
        Err(error) => {
            outcome.why = error.to_string();
            return Verdict::Unknown;
        }
    };
    let total = all().count() as u64;
    let mut verdict = Verdict::Pass;
    for (done, check) in (1..).zip(all()) {
        let seed = seed().unwrap_or(context.chance(check.name) % 1_000_000);
        let found = run(check, seed, &fault);
        verdict =
            verdict.and(found.iter().map(|rule| rule.score.verdict()).fold(Verdict::Pass, Verdict::and));
        if outcome.why.is_empty()
            && let Some(worst) = worst(&found)
        {
            outcome.why = worst.to_string();
        }
        found.into_iter().for_each(|rule| rules.add(rule));
        evidence.progress("rules", "checks", done, total, "checks");
    }
    verdict
}

/// Runs the checks that judge at least one of these rules, on a core with this fault, and returns
/// the worst verdict on each rule that they looked at.
#[must_use]
pub fn run_checks_for(rules: &[RuleId], fault: &InjectedFault, seed: u64) -> Vec<RuleOutcome> {
    let mut log = RuleLog::simulated();
    let concerned = |check: &&Check| check.rules.iter().any(|rule| rules.contains(rule));
    for check in all().filter(concerned) {
        run(check, seed, fault).into_iter().for_each(|rule| log.add(rule));
    }
    log.into_outcomes()
}

/// The seed that `ROUNDTRIP_SEED` asks for.
fn seed() -> Option<u64> {
    std::env::var("ROUNDTRIP_SEED").ok()?.parse().ok()
}

/// The worst of the outcomes that keep the verdict from being a pass.
fn worst(found: &[RuleOutcome]) -> Option<&RuleOutcome> {
    let counts = |rule: &&RuleOutcome| rule.score.verdict() != Verdict::Pass;
    found.iter().filter(counts).max_by_key(|rule| rule.score.verdict())
}

/// Runs one check. A rule that the check lists and did not look at is unknown.
fn run(check: &Check, seed: u64, fault: &InjectedFault) -> Vec<RuleOutcome> {
    let mut log = RuleLog::simulated();
    let ended = simulator::run(seed, async |world| {
        let testbed = testbed::open(world, (check.setup)(), fault)?;
        let ended = (check.body)(&testbed, &mut log).await;
        let closed = testbed.close().await;
        ended.and(closed.map_err(ScenarioError::from))
    });
    if let Err(error) = ended {
        judge_early_end(check, &mut log, &error);
    }
    for rule in check.rules {
        if !log.looked_at(*rule) {
            log.unknown(*rule, "it was not looked at");
        }
    }
    let mut found = log.into_outcomes();
    for rule in found.iter_mut().filter(|rule| rule.verdict != Verdict::Pass) {
        rule.found = format!("{}: {} (ROUNDTRIP_SEED={seed} runs it again)", check.name, rule.found);
    }
    found
}

/// Judges the rules of a check that ended early. The rules fail if the core is to blame for the end
/// and no rule was broken before, because the core then failed at something that all of them
/// presuppose. Otherwise nothing can be said about them: a broken rule explains the end, or the
/// simulator or the host failed.
fn judge_early_end(check: &Check, log: &mut RuleLog, error: &ScenarioError) {
    let explained = log.broken().is_some();
    for rule in check.rules {
        match error {
            ScenarioError::CoreViolation(what) if !explained => log.core_failed(*rule, what),
            _ => log.unknown(*rule, format!("the check ended early: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_core_passes_every_check() {
        let mut broken = Vec::new();
        for check in all() {
            let found = run(check, seed().unwrap_or(7), &InjectedFault::default());
            broken.extend(found.into_iter().filter(|rule| rule.verdict != Verdict::Pass));
        }
        let broken: Vec<_> = broken.into_iter().map(|rule| format!("{}: {}", rule.id, rule.found)).collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn every_check_lists_rules() {
        for check in all() {
            assert!(!check.rules.is_empty(), "{}", check.name);
        }
    }
}
