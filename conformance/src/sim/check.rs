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
    let dose = match &context.mutant {
        None => InjectedFault::default(),
        Some(words) => match InjectedFault::parse(words) {
            Some(dose) => dose,
            None => {
                outcome.why = format!("there is no mutant {words}");
                return Verdict::Unknown;
            }
        },
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
    use crate::mutants::interface::InterfaceFault;
    use crate::rules::ids::*;

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

    /// Rules that a faulty core breaks, each of which the checks must find broken.
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

    /// The same of faults below the interface.
    const MUTANTS: &[(&str, &[RuleId])] = &[
        ("drop-extent", &[FO_10, HF_05, LC_09, PF_03, RE_09, RP_11]),
        ("swap-in-time", &[FO_10, LC_09, RP_11]),
        ("skip-hydration", &[HY_08]),
        ("alter-sector", &[FO_10, LC_09, PF_03]),
    ];

    /// Those of `rules` to which no check objects, though the core is faulty.
    fn missed(dose: &InjectedFault, rules: &'static [RuleId]) -> Vec<RuleId> {
        let mut log = RuleLog::simulated();
        let concerned = |check: &&Check| check.rules.iter().any(|rule| rules.contains(rule));
        for check in all().filter(concerned) {
            run(check, 7, dose).0.into_iter().for_each(|rule| log.add(rule));
        }
        let found = log.into_outcomes();
        let failed = |rule: RuleId| found.iter().any(|r| r.id == rule && r.verdict == Verdict::Fail);
        rules.iter().copied().filter(|rule| !failed(*rule)).collect()
    }

    #[test]
    fn every_core_that_is_bent_at_its_interface_is_found_out() {
        for (bend, rules) in FAULTS {
            let missed = missed(&InjectedFault::bent(*bend), rules);
            assert!(missed.is_empty(), "{bend:?}: no check objects for {missed:?}");
        }
    }

    #[test]
    fn every_core_that_is_faulty_below_its_interface_is_found_out() {
        for (name, rules) in MUTANTS {
            let missed = missed(&InjectedFault::parse(name).expect(name), rules);
            assert!(missed.is_empty(), "{name}: no check objects for {missed:?}");
        }
    }

    #[test]
    fn every_check_promises_rules() {
        for check in all() {
            assert!(!check.rules.is_empty(), "{}", check.says);
        }
    }
}
