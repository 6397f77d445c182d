//! Runs checks and turns their ends into verdicts.

use std::collections::BTreeSet;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::core_change::AskedChange;
use crate::core_under_test::FaultInjection;
use crate::evidence::Evidence;
use crate::missing::Missing;
use crate::mutants::InjectedFault;
use crate::outcome::{RuleOutcome, ScenarioOutcome, Verdict};
use crate::rules::{RuleId, RuleLog};
use crate::sim::check::Check;
use crate::sim::checks::all as all_checks;
use crate::sim::early_end::EarlyEnd;
use crate::sim::{seeded_cycles, testbed, time_limit};

/// Runs every check, or those of the rules that the run asks for. The seed of a check follows from
/// the run's id and the check's name; `ROUNDTRIP_SEED` gives all checks one seed instead, so that a
/// failure can be repeated.
pub(crate) fn run_all(
    context: &RunContext,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Verdict {
    let change = match AskedChange::for_checks(context) {
        Ok(change) => change,
        Err(error) => {
            outcome.why = error.to_string();
            return Verdict::Unknown;
        }
    };
    let asked = |check: &&Check| {
        context.rules.is_empty() || check.rules.iter().any(|rule| context.rules.contains(rule))
    };
    let checks: Vec<_> = all_checks().filter(asked).collect();
    if checks.is_empty() {
        outcome.why = "no check in memory judges the rules that were asked for".to_owned();
        return Verdict::Unknown;
    }
    let total = checks.len() as u64;
    let mut verdict = Verdict::Skipped;
    let mut broken = 0;
    for (done, check) in (1..).zip(checks) {
        let seed = seed().unwrap_or(context.chance(check.name) % 1_000_000);
        if broken >= MOST_BROKEN {
            not_run(check, rules);
            verdict = verdict.and(Verdict::Unknown);
            continue;
        }
        let CheckRun { outcomes: found, broken: line, abandoned, .. } =
            run(check, seed, Box::new(change.another()));
        if abandoned {
            broken = MOST_BROKEN;
        }
        if let Some(line) = line {
            broken += 1;
            if outcome.why.is_empty() {
                outcome.why = line;
            }
        }
        verdict =
            verdict.and(found.iter().map(|rule| rule.score.verdict()).fold(Verdict::Skipped, Verdict::and));
        if outcome.why.is_empty()
            && let Some(worst) = worst(&found)
        {
            outcome.why = worst.to_string();
        }
        found.into_iter().for_each(|rule| rules.add(rule));
        evidence.progress("rules", "checks", done, total, "checks");
    }
    if let Some(why) = change.idle() {
        why.clone_into(&mut outcome.why);
        return Verdict::Unknown;
    }
    verdict
}

/// The most checks in which a core may break the wire protocol, or not answer, before the others
/// are left out: each may take as long as the longest wait. A check that came to no end is the
/// last one, because it still occupies this process.
const MOST_BROKEN: u32 = 3;

/// Records that a check was left out.
fn not_run(check: &Check, rules: &mut RuleLog) {
    for rule in check.rules {
        let why = "not run, because earlier checks came to no end, or the core broke the protocol in them";
        rules.unknown(*rule, format!("{}: {why}", check.name));
    }
}

/// What checks found out about a core with a fault.
#[derive(Debug, Default)]
pub struct CheckedRules {
    /// The rules that are broken by an assertion of their own.
    pub broken: BTreeSet<RuleId>,
    /// The rules of which only a step failed that had to succeed, so that a check ended early.
    pub ended_early: BTreeSet<RuleId>,
    /// The check that came to no end, after which none was run.
    pub abandoned: Option<&'static str>,
}

/// Runs the checks that judge at least one of these rules on a core with this fault.
#[must_use]
pub fn run_checks_for(rules: &[RuleId], fault: &InjectedFault, seed: u64) -> CheckedRules {
    let mut all = CheckedRules::default();
    let concerned = |check: &&Check| check.rules.iter().any(|rule| rules.contains(rule));
    for check in all_checks().filter(concerned) {
        let found = run(check, seed, Box::new(fault.clone()));
        all.broken.extend(found.asserted);
        all.ended_early.extend(found.ended_early);
        if found.abandoned {
            all.abandoned = Some(check.name);
            break;
        }
    }
    all
}

/// What the checks and a cycle say about a core.
#[derive(Debug, Default)]
pub struct Judged {
    /// How many rules were judged.
    pub rules: usize,
    /// Names of the checks that the core does not support.
    pub left_out: Vec<&'static str>,
    /// The outcomes of rules that keep the verdict from being a pass.
    pub objections: Vec<RuleOutcome>,
}

/// Runs every check, each on a core that `change` changes, and a cycle; with a rule, the checks
/// that judge it alone.
#[must_use]
pub fn judge(change: &dyn Fn() -> Box<dyn FaultInjection>, seed: u64, only: Option<RuleId>) -> Judged {
    let mut judged = Judged::default();
    let (mut all, mut abandoned) = (Vec::new(), false);
    for check in all_checks().filter(|check| only.is_none_or(|rule| check.rules.contains(&rule))) {
        let found = run(check, seed, change());
        judged.left_out.extend(found.lacking.then_some(check.name));
        all.extend(found.outcomes);
        abandoned = found.abandoned;
        if abandoned {
            break;
        }
    }
    if judged.left_out.is_empty() && !abandoned && only.is_none() {
        all.extend(seeded_cycles::judge_seed(seed, change()));
    }
    all.retain(|rule| rule.verdict != Verdict::Skipped);
    judged.rules = all.iter().map(|rule| rule.id).collect::<BTreeSet<_>>().len();
    judged.objections = all.into_iter().filter(|rule| rule.score.verdict() != Verdict::Pass).collect();
    judged
}

/// The outcomes of every check, one after the other, each on a core that `change` changes. `None`:
/// a check came to no end, and no other should be run.
pub(crate) fn every_check(
    seed: u64,
    change: &dyn Fn() -> Box<dyn FaultInjection>,
) -> impl Iterator<Item = Option<Vec<RuleOutcome>>> {
    all_checks().map(move |check| {
        let found = run(check, seed, change());
        (!found.abandoned).then_some(found.outcomes)
    })
}

/// The seed that `ROUNDTRIP_SEED` asks for.
fn seed() -> Option<u64> {
    std::env::var("ROUNDTRIP_SEED").ok()?.parse().ok()
}

/// The worst of the outcomes that keep the verdict from being a pass.
fn worst(found: &[RuleOutcome]) -> Option<&RuleOutcome> {
    let counts = |rule: &&RuleOutcome| rule.score.verdict() > Verdict::Pass;
    found.iter().filter(counts).max_by_key(|rule| rule.score.verdict())
}

/// What one check found out.
struct CheckRun {
    outcomes: Vec<RuleOutcome>,
    /// The rules that an assertion of their own found broken.
    asserted: Vec<RuleId>,
    /// The rule of the step that ended the check early, if that was the core's failure and no
    /// assertion.
    ended_early: Option<RuleId>,
    /// Whether the core lacks a capability that the check needs.
    lacking: bool,
    /// How the core broke the wire protocol, if it did.
    broken: Option<String>,
    /// Whether the check came to no end.
    abandoned: bool,
}

/// Runs one check. A rule that the check lists and did not look at is unknown.
fn run(check: &'static Check, seed: u64, change: Box<dyn FaultInjection>) -> CheckRun {
    let judged = time_limit::within(time_limit::LIMIT, move || run_here(check, seed, &*change));
    judged.unwrap_or_else(|| abandoned(check, seed))
}

/// What is known about a check that came to no end.
fn abandoned(check: &Check, seed: u64) -> CheckRun {
    let why = format!("{}: {} (ROUNDTRIP_SEED={seed} runs it again)", check.name, time_limit::why());
    let mut log = RuleLog::simulated();
    check.rules.iter().for_each(|rule| log.unknown(*rule, why.clone()));
    CheckRun {
        outcomes: log.into_outcomes(),
        asserted: Vec::new(),
        ended_early: None,
        lacking: false,
        broken: None,
        abandoned: true,
    }
}

/// Runs one check on this thread.
fn run_here(check: &Check, seed: u64, change: &dyn FaultInjection) -> CheckRun {
    let missing = Missing::default();
    let mut log = RuleLog::simulated().noting(&missing);
    let ended = simulator::run(seed, async |world| {
        let opener = testbed::Opener { change, missing: &missing };
        let mut testbed = opener.open(world, (check.setup)())?;
        let ended = (check.body)(&mut testbed, &mut log, &opener).await;
        let closed = testbed.close().await;
        ended.and(closed.map_err(EarlyEnd::from))
    });
    let ended_early = ended.err().and_then(|end| judge_early_end(check, &mut log, &end));
    for rule in check.rules {
        if !log.looked_at(*rule) {
            log.unknown(*rule, "it was not looked at");
        }
    }
    let mut outcomes = log.into_outcomes();
    for rule in outcomes.iter_mut().filter(|rule| !matches!(rule.verdict, Verdict::Pass | Verdict::Skipped)) {
        rule.found = format!("{}: {} (ROUNDTRIP_SEED={seed} runs it again)", check.name, rule.found);
    }
    let failed = outcomes.iter().filter(|rule| rule.verdict == Verdict::Fail).map(|rule| rule.id);
    let asserted = failed.filter(|rule| Some(*rule) != ended_early).collect();
    let lacking = missing.get().is_some();
    let broken = missing.broken().map(ToOwned::to_owned);
    CheckRun { outcomes, asserted, ended_early, lacking, broken, abandoned: false }
}

/// Judges the rules of a check that ended early. If the core is to blame, the rule that the failed
/// step is about is broken, unless another rule was broken before, which may explain the end.
/// Nothing can be said about the other rules of the check. Returns the rule that is broken if it is
/// so only because the check ended.
fn judge_early_end(check: &Check, log: &mut RuleLog, end: &EarlyEnd) -> Option<RuleId> {
    if let Some(capability) = log.missing().map(ToOwned::to_owned) {
        check.rules.iter().for_each(|rule| log.skip(*rule, &capability));
        return None;
    }
    let explained = log.broken().is_some();
    let mut ended_early = None;
    match &end.error {
        ScenarioError::CoreViolation(what) if end.asserted => log.core_failed(end.rule, what),
        ScenarioError::CoreViolation(what) if !explained => {
            log.core_failed(end.rule, what);
            ended_early = Some(end.rule);
        }
        _ => {}
    }
    for rule in check.rules.iter().filter(|rule| **rule != end.rule || ended_early.is_none()) {
        log.unknown(*rule, format!("the check ended early: {}", end.error));
    }
    ended_early
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_core_passes_every_check() {
        let mut broken = Vec::new();
        for check in all_checks() {
            let found = run(check, seed().unwrap_or(7), Box::new(InjectedFault::default())).outcomes;
            broken.extend(found.into_iter().filter(|rule| rule.verdict != Verdict::Pass));
        }
        let broken: Vec<_> = broken.into_iter().map(|rule| format!("{}: {}", rule.id, rule.found)).collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    #[test]
    fn every_check_lists_rules() {
        for check in all_checks() {
            assert!(!check.rules.is_empty(), "{}", check.name);
        }
    }
}
