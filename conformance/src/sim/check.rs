//! A check: a small story in a world of its own, that tells of some rules whether they hold.

use std::pin::Pin;

use super::checks::all;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::mutants::InjectedFault;
use crate::outcome::{RuleOutcome, ScenarioOutcome, Verdict};
use crate::rules::RuleLog;
use crate::sim::testbed::{Setup, Testbed, in_memory};

/// How a check goes. `Err`: it did not come to its end, and the core is to blame.
pub(crate) type Story<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// One check.
pub(crate) struct Check {
    /// What it shows, as a sentence.
    pub(crate) says: &'static str,
    /// The rules that it looks at, each of them at least once.
    pub(crate) rules: &'static [&'static str],
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
        Err(error) => check.rules.iter().for_each(|rule| log.unknown(rule, error.clone())),
    }
    for rule in check.rules {
        if !log.looked_at(rule) {
            log.unknown(rule, "it was not looked at");
        }
    }
    let mut found = log.into_outcomes();
    for rule in found.iter_mut().filter(|rule| rule.verdict != Verdict::Pass) {
        rule.why = told(&rule.why);
    }
    let worst = found.iter().filter(|rule| rule.verdict != Verdict::Pass).max_by_key(|rule| rule.verdict);
    let why = worst.map_or_else(String::new, |rule| rule.why.clone());
    (found, why)
}

/// A story that did not come to its end. If a rule was broken on the way, that is why, and of the others nothing can be
/// said; if none was, the core failed at what all of them take for granted.
fn broke_off(check: &Check, log: &mut RuleLog, error: &str) {
    let explained = log.broken().is_some();
    for rule in check.rules {
        match explained {
            true => log.unknown(rule, format!("it ended early: {error}")),
            false => log.expect(rule, false, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::interface::InterfaceFault;

    #[test]
    fn every_check_holds_for_the_built_in_core() {
        let mut broken = Vec::new();
        for check in all() {
            let (found, _) = run(check, seed().unwrap_or(7), &InjectedFault::default());
            broken.extend(found.into_iter().filter(|rule| rule.verdict != Verdict::Pass));
        }
        let broken: Vec<_> = broken.into_iter().map(|rule| format!("{}: {}", rule.id, rule.why)).collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    /// Rules that a faulty core breaks, each of which the checks must find broken.
    const FAULTS: &[(InterfaceFault, &[&str])] = &[
        (
            InterfaceFault::AcceptsAll,
            &["FB-02", "HF-14", "LC-08", "LC-14", "PH-01", "RE-06", "RE-10", "RE-25", "RP-07", "TF-04"],
        ),
        (InterfaceFault::LeavesTrace, &["FO-18", "LC-02", "RE-12"]),
        (InterfaceFault::OtherCode, &["FB-01", "HF-26", "PH-02", "RE-28", "RP-10"]),
        (InterfaceFault::TestFailoverDeletesPoints, &["TF-08"]),
        (InterfaceFault::ForgetsTestFailovers, &["MO-02", "TF-05"]),
        (InterfaceFault::PlanAtOnce, &["PL-01"]),
        (InterfaceFault::SkipsActions, &["PL-03", "PL-04", "TF-10"]),
        (InterfaceFault::PlannedGoesOn, &["PF-04", "PL-07"]),
        (InterfaceFault::LeavesSource, &["FO-06", "FO-07", "LC-10"]),
        (InterfaceFault::LatestIsProcessed, &["RP-02"]),
        (InterfaceFault::AlwaysHealthy, &["FO-13", "IN-02", "MO-01"]),
        (InterfaceFault::NoIssues, &["MO-03"]),
        (InterfaceFault::HidesHydration, &["HY-01", "HY-02", "HY-03", "HY-05", "HY-06", "TF-09"]),
        (InterfaceFault::TurnsJobs, &["FB-14", "LC-08", "RE-01"]),
        (InterfaceFault::NoRetry, &["JO-03", "RE-16"]),
        (InterfaceFault::HidesTestFailovers, &["MO-04"]),
        (InterfaceFault::ForgetsTarget, &["CN-10", "FO-17"]),
        (InterfaceFault::SkipsCommit, &["FB-11", "FO-03", "FO-04", "HF-16", "LC-05", "PF-06"]),
        (InterfaceFault::SkipsChange, &["FO-02"]),
        (InterfaceFault::IgnoresCancel, &["FO-12", "HF-19", "JO-04"]),
        (InterfaceFault::NeverWaits, &["HF-06", "HF-08", "JO-02"]),
        (InterfaceFault::TestsNewestPoint, &["TF-03"]),
        (InterfaceFault::FillsIn, &["RE-25", "RE-26"]),
        (InterfaceFault::EachItsOwn, &["RP-07", "RP-08", "RP-09"]),
        (InterfaceFault::SkipsPlans, &["FO-15", "PL-05", "PL-07"]),
        (InterfaceFault::SwapsVolumes, &["RP-20"]),
        (InterfaceFault::HidesPolicy, &["PO-01"]),
        (InterfaceFault::LoosePolicy, &["PO-02", "PO-03", "PO-04"]),
    ];

    /// The same of faults below the interface.
    const MUTANTS: &[(&str, &[&str])] = &[
        ("drop-extent", &["FO-10", "HF-05", "LC-09", "PF-03", "RE-09", "RP-11"]),
        ("swap-in-time", &["FO-10", "LC-09", "RP-11"]),
        ("skip-hydration", &["HY-08"]),
        ("alter-sector", &["FO-10", "LC-09", "PF-03"]),
    ];

    /// Those of `rules` to which no check objects, though the core is faulty.
    fn missed(dose: &InjectedFault, rules: &[&'static str]) -> Vec<&'static str> {
        let mut log = RuleLog::simulated();
        let concerned = |check: &&Check| check.rules.iter().any(|rule| rules.contains(rule));
        for check in all().filter(concerned) {
            run(check, 7, dose).0.into_iter().for_each(|rule| log.add(rule));
        }
        let found = log.into_outcomes();
        let failed = |rule: &str| found.iter().any(|r| r.id == rule && r.verdict == Verdict::Fail);
        rules.iter().copied().filter(|rule| !failed(rule)).collect()
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
