//! Cycles in which the core is killed: one cycle for each moment at which it can be.
//!
//! A first cycle counts the moments. In each of the others the core is killed at one of them and
//! started again from its state directory, and the cycle must end as if nothing had happened. It is
//! judged by the same rules.

use std::sync::Arc;

use crate::core_under_test::FaultInjection;
use crate::evidence::Evidence;
use crate::kills::{KillChoice, Kills, Schedule};
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::cycle_name::CycleName;
use crate::sim::drawn_case::DrawnCase;
use crate::sim::early_end::EarlyEnd;
use crate::sim::seeded_cycles::{Cycle, condense, record, run_cycle};
use crate::sim::testbed::Setup;
use crate::wire_core::CoreChoice;

/// After so many cycles that did not pass the others are left out: each may wait for hours.
const MOST_BROKEN: u32 = 8;

/// A core that is killed and otherwise unchanged.
struct Killed(Arc<Kills>);

impl FaultInjection for Killed {
    fn kills(&self) -> Option<Arc<Kills>> {
        Some(Arc::clone(&self.0))
    }
}

/// Runs the cycles for each seed and records what each found.
pub(super) fn run(
    seeds: &[u64],
    pair: &Setup,
    choice: KillChoice,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Verdict {
    if !matches!(CoreChoice::selected(), Ok(CoreChoice::Wire(_))) {
        "a core in the suite's own process cannot be killed".clone_into(&mut outcome.why);
        return Verdict::Unknown;
    }
    let mut campaign = Campaign { pair, evidence, outcome, rules, tally: Tally::default() };
    let verdict = seeds.iter().map(|seed| campaign.seed(*seed, choice)).fold(Verdict::Skipped, Verdict::and);
    let Campaign { tally, .. } = campaign;
    outcome.edges = condense(std::mem::take(&mut outcome.edges));
    if tally.killed == 0 && verdict == Verdict::Pass {
        "no cycle came to a moment at which the core was to be killed".clone_into(&mut outcome.why);
        return Verdict::Unknown;
    }
    println!("{tally}");
    verdict
}

/// The cycles of a run.
struct Campaign<'a> {
    pair: &'a Setup,
    evidence: &'a Evidence,
    outcome: &'a mut ScenarioOutcome,
    rules: &'a mut RuleLog,
    tally: Tally,
}

/// How many cycles there were, and what the kills led to.
#[derive(Default)]
struct Tally {
    cycles: u64,
    killed: u64,
    repeated: u64,
    broken: u32,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cycles, killed, repeated, broken } = self;
        write!(
            f,
            "{cycles} cycles: the core was killed in {killed}, {repeated} jobs failed because of it and were \
             repeated, {broken} cycles did not pass"
        )
    }
}

impl Campaign<'_> {
    /// Runs the cycles of one seed.
    fn seed(&mut self, seed: u64, choice: KillChoice) -> Verdict {
        let counting = Kills::new(Schedule::Never);
        let mut verdict = self.cycle(CycleName { seed, kill: None }, &counting);
        if verdict != Verdict::Pass {
            return verdict;
        }
        let moments = choice.moments(counting.moments(), seed);
        let total = moments.len() as u64;
        for (done, moment) in (1..).zip(moments) {
            if self.tally.broken >= MOST_BROKEN {
                let left_out = format!("not run, because {MOST_BROKEN} cycles before it did not pass");
                self.rules.unknown(LC_01, format!("seed {seed}, killed at moment {moment}: {left_out}"));
                return verdict.and(Verdict::Unknown);
            }
            let kills = Kills::new(Schedule::At(moment));
            verdict = verdict.and(self.cycle(CycleName { seed, kill: Some(moment) }, &kills));
            self.evidence.progress("cycles", "kills", done, total, "kills");
        }
        verdict
    }

    fn cycle(&mut self, name: CycleName, kills: &Arc<Kills>) -> Verdict {
        let case = DrawnCase::of(name.seed);
        let cycle = run_cycle(name.seed, &case, self.pair, Box::new(Killed(Arc::clone(kills))), |_| ());
        let cycle = if_decided(cycle, kills);
        let shown = judge_shown(name, kills, self.rules);
        let verdict = record(self.outcome, self.rules, name, cycle).and(shown);
        self.tally.cycles += 1;
        self.tally.killed += u64::from(kills.strikes() > 0);
        self.tally.repeated += kills.repeated();
        self.tally.broken += u32::from(!matches!(verdict, Verdict::Pass | Verdict::Skipped));
        verdict
    }
}

/// A cycle that ended because nobody can know what became of a request is no failure of the core.
fn if_decided(mut cycle: Cycle, kills: &Kills) -> Cycle {
    if let (true, Some(why)) = (cycle.ended.is_err(), kills.undecided()) {
        cycle.ended = Err(EarlyEnd::inconclusive(why));
    }
    cycle
}

/// Judges what the core showed after a restart.
fn judge_shown(name: CycleName, kills: &Kills, rules: &mut RuleLog) -> Verdict {
    let objections = kills.objections();
    for (rule, found) in &objections {
        rules.check(*rule, false, format!("{name}: {found}"));
    }
    if !objections.is_empty() {
        return Verdict::Fail;
    }
    if kills.strikes() > 0 {
        for rule in [JO_01, MO_06, RP_20] {
            rules.check(rule, true, format!("{name}: what the core had shown is as it was after a restart"));
        }
    }
    Verdict::Pass
}
