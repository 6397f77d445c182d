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
    let fault = match &context.mutant {
        None => InjectedFault::default(),
        Some(name) => match InjectedFault::parse(name) {
            Some(fault) => fault,
            None => {
                outcome.why = format!("there is no mutant {name}");
                return Verdict::Unknown;
            }
        },
    };
    let total = all().count() as u64;
    let mut verdict = Verdict::Pass;
    for (done, check) in (1..).zip(all()) {
        let seed = seed().unwrap_or(context.chance(check.name) % 1_000_000);
        let found = run(check, seed, &fault);
        verdict = verdict.and(found.iter().map(|rule| rule.verdict).fold(Verdict::Pass, Verdict::and));
        if outcome.why.is_empty()
            && let Some(worst) = worst(&found)
        {
            outcome.why = worst.found.clone();
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

/// The worst of the outcomes that are no pass.
fn worst(found: &[RuleOutcome]) -> Option<&RuleOutcome> {
    found.iter().filter(|rule| rule.verdict != Verdict::Pass).max_by_key(|rule| rule.verdict)
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
            ScenarioError::CoreViolation(what) if !explained => log.check(*rule, false, what),
            _ => log.unknown(*rule, format!("the check ended early: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::interface::InterfaceFault;
    use crate::rules::ids::*;

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

    /// Faults at the interface, and the rules that the checks must find broken by each.
    const FAULTS: &[(InterfaceFault, &[RuleId])] = &[
        (InterfaceFault::AcceptsAll, &[FB_02, HF_14, LC_08, LC_14, PH_01, RE_06, RE_10, RE_25, RP_07, TF_04]),
        (InterfaceFault::LeavesTrace, &[FO_18, LC_02, RE_12]),
        (InterfaceFault::OtherCode, &[FB_01, HF_26, PH_02, RE_28, RP_10]),
        (InterfaceFault::TestFailoverDeletesPoints, &[TF_08]),
        (InterfaceFault::ForgetsTestFailovers, &[MO_02, TF_05]),
        (InterfaceFault::PlanAtOnce, &[PL_01]),
        (InterfaceFault::SkipsActions, &[PL_03, PL_04, TF_10]),
        (InterfaceFault::PlannedGoesOn, &[PF_04, PL_07]),
        (InterfaceFault::LeavesSource, &[FO_06, FO_07, LC_10]),
        (InterfaceFault::LatestIsProcessed, &[RP_02]),
        (InterfaceFault::AlwaysHealthy, &[FO_13, IN_02, MO_01]),
        (InterfaceFault::NoIssues, &[MO_03]),
        (InterfaceFault::HidesHydration, &[HY_01, HY_02, HY_03, HY_05, HY_06, TF_09]),
        (InterfaceFault::TurnsJobs, &[FB_14, LC_08, RE_01]),
        (InterfaceFault::NoRetry, &[JO_03, RE_16]),
        (InterfaceFault::HidesTestFailovers, &[MO_04]),
        (InterfaceFault::ForgetsTarget, &[CN_10, FO_17]),
        (InterfaceFault::SkipsCommit, &[FB_11, FO_03, FO_04, HF_16, LC_05, PF_06]),
        (InterfaceFault::SkipsChange, &[FO_02]),
        (InterfaceFault::IgnoresCancel, &[FO_12, HF_19, JO_04]),
        (InterfaceFault::NeverWaits, &[HF_06, HF_08, JO_02]),
        (InterfaceFault::TestsNewestPoint, &[TF_03]),
        (InterfaceFault::FillsIn, &[RE_25, RE_26]),
        (InterfaceFault::EachItsOwn, &[RP_07, RP_08, RP_09]),
        (InterfaceFault::SkipsPlans, &[FO_15, PL_05, PL_07]),
        (InterfaceFault::SwapsVolumes, &[RP_20]),
        (InterfaceFault::HidesPolicy, &[PO_01]),
        (InterfaceFault::LoosePolicy, &[PO_02, PO_03, PO_04]),
    ];

    /// Faults below the interface, and the rules that the checks must find broken by each.
    const MUTANTS: &[(&str, &[RuleId])] = &[
        ("drop-extent", &[FO_10, HF_05, LC_09, PF_03, RE_09, RP_11]),
        ("swap-in-time", &[FO_10, LC_09, RP_11]),
        ("skip-hydration", &[HY_08]),
        ("alter-sector", &[FO_10, LC_09, PF_03]),
    ];

    /// The rules that no check finds broken, although the core has this fault.
    fn missed(fault: &InjectedFault, rules: &'static [RuleId]) -> Vec<RuleId> {
        let found = run_checks_for(rules, fault, 7);
        let failed = |rule: RuleId| found.iter().any(|r| r.id == rule && r.verdict == Verdict::Fail);
        rules.iter().copied().filter(|rule| !failed(*rule)).collect()
    }

    #[test]
    fn the_checks_detect_every_fault_at_the_interface() {
        for (fault, rules) in FAULTS {
            let missed = missed(&InjectedFault::bent(*fault), rules);
            assert!(missed.is_empty(), "{fault:?}: no check finds broken: {missed:?}");
        }
    }

    #[test]
    fn the_checks_detect_every_fault_below_the_interface() {
        for (name, rules) in MUTANTS {
            let missed = missed(&InjectedFault::parse(name).expect(name), rules);
            assert!(missed.is_empty(), "{name}: no check finds broken: {missed:?}");
        }
    }

    #[test]
    fn every_check_lists_rules() {
        for check in all() {
            assert!(!check.rules.is_empty(), "{}", check.name);
        }
    }
}
