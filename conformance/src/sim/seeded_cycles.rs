//! Whole cycles: failover, reprotection, failback and reprotection, once for each of many seeds,
//! and another failover, which shows that replication works after them.
//!
//! The seed decides what the machine and the sites are like ([`DrawnCase`]), what the guest writes,
//! when the disaster strikes and where replication is at that moment. The seeds of a run follow
//! from its id; `ROUNDTRIP_SEED` runs a single seed again. Of the first seed that fails, the
//! smallest case is searched that still fails.

use anyhow::{Context as _, Result};
use contract::{Direction, Millis, Phase, PointChoice, Side};
use simulator::testbed::{BACK, BOOT, INTERVAL, OUT, TestbedError, item_of};
use simulator::{SimProfile, SimWorld};

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::core_change::AskedChange;
use crate::core_under_test::FaultInjection;
use crate::evidence::Evidence;
use crate::kills::DOWN;
use crate::missing::{self, Missing};
use crate::outcome::{EdgeOutcome, RuleOutcome, ScenarioOutcome, Seeds, Verdict};
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::scenario::Scenario;
use crate::sim::cycle_name::CycleName;
use crate::sim::drawn_case::{DrawnCase, History};
use crate::sim::early_end::EarlyEnd;
use crate::sim::judged_edge::{Edge, judge};
use crate::sim::rounds::Rounds;
use crate::sim::shrink::{Failing, shrink};
use crate::sim::testbed::{self, Setup, Testbed};
use crate::sim::time_limit;

/// How much older than the policy's interval the data of a failover may be. A simulated transfer
/// takes no time.
const TOLERANCE: Millis = Millis(5_000);
const MACHINE: &str = "web";
/// Kinds of edges, as an edge's name begins.
const EDGES: [&str; 3] = ["failover", "failback", "second failover"];
/// How the edge of a failover to an older point is called. It is judged as any other, but what it
/// loses is the choice of whoever asks, so that a report shows it only if it failed.
const OLDER_POINT: &str = "older point";
/// How many failed edges of a kind the report shows; the first one names the seed.
const FAILURES_SHOWN: usize = 4;

/// Runs a cycle for each seed and records what each found.
pub(crate) fn run(
    context: &RunContext,
    scenario: &Scenario,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Result<Verdict> {
    let mut verdict = Verdict::Skipped;
    let (mut all_idle, mut lacking) = (true, false);
    let mut why_idle = None;
    let seeds = seeds(context)?;
    let count = seeds.len() as u64;
    outcome.seeds = seeds.first().map(|first| Seeds { first: *first, count });
    let pair = setup(scenario)?;
    for (done, seed) in (1..).zip(&seeds) {
        let case = DrawnCase::of(*seed);
        let rounds = Rounds::noted(context, evidence, *seed)?;
        let (cycle, idle) = run_seed(*seed, &case, &pair, context, rounds);
        let abandoned = cycle.abandoned;
        all_idle &= idle.is_some();
        why_idle = idle.or(why_idle);
        lacking |= cycle.missing.get().is_some();
        let found = record(outcome, rules, CycleName { seed: *seed, kill: None }, cycle);
        if found == Verdict::Fail && verdict != Verdict::Fail {
            outcome.why = smallest(*seed, &case, std::mem::take(&mut outcome.why), &pair, context);
        }
        verdict = verdict.and(found);
        if abandoned {
            break;
        }
        evidence.progress("cycles", "seeds", done, seeds.len() as u64, "seeds");
    }
    outcome.edges = condense(std::mem::take(&mut outcome.edges));
    if all_idle {
        why_idle.unwrap_or_default().clone_into(&mut outcome.why);
        return Ok(Verdict::Unknown);
    }
    if lacking && verdict == Verdict::Pass {
        let reached = |kind: &str| outcome.edges.iter().any(|edge| edge.name.starts_with(kind));
        let others: Vec<_> = EDGES.into_iter().filter(|kind| !reached(kind)).collect();
        outcome.edges.extend(others.into_iter().map(|kind| EdgeOutcome::skipped(kind, &outcome.why)));
        return Ok(Verdict::Skipped);
    }
    Ok(verdict)
}

/// The seeds that a run asks for.
pub(super) fn seeds(context: &RunContext) -> Result<Vec<u64>> {
    if let Ok(seed) = std::env::var("ROUNDTRIP_SEED") {
        return Ok(vec![seed.parse().context("ROUNDTRIP_SEED is not a number")?]);
    }
    let first = context.chance("sim") % 1_000_000_000;
    Ok((first..first + context.seeds).collect())
}

/// What one cycle found.
pub(super) struct Cycle {
    /// The edges that were judged.
    edges: Vec<EdgeOutcome>,
    /// Why the cycle ended early, if it did.
    pub(super) ended: Result<(), EarlyEnd>,
    /// The capability that the core lacks for the rest of the cycle.
    pub(super) missing: Missing,
    /// Whether the cycle came to no end. It is the last one then, because it still occupies this
    /// process.
    abandoned: bool,
}

impl Cycle {
    /// A cycle that says nothing about the core.
    fn inconclusive(why: String, abandoned: bool) -> Self {
        let ended = Err(EarlyEnd::inconclusive(why));
        Self { edges: Vec::new(), ended, missing: Missing::default(), abandoned }
    }
}

/// Searches the smallest case that fails with a seed, and says how the cycle failed with what the
/// seed drew and with that one.
fn smallest(seed: u64, drawn: &DrawnCase, why: String, pair: &Setup, context: &RunContext) -> String {
    let first = Failing { case: drawn.clone(), why: why.clone() };
    let Failing { case, why: last } = shrink(first, |case| {
        let (cycle, _) = run_seed(seed, case, pair, context, Rounds::new(context.cycles));
        let mut outcome = ScenarioOutcome::begun("", "", None);
        let name = CycleName { seed, kill: None };
        let verdict = record(&mut outcome, &mut RuleLog::simulated(), name, cycle);
        (verdict == Verdict::Fail).then_some(outcome.why)
    });
    if case == *drawn {
        return format!("{why}; drawn: {drawn}");
    }
    format!("{why}; drawn: {drawn}; the smallest case that fails: {case}: {last}")
}

/// Runs one seed's cycle. Each seed has a fault of its own, because a fault that waits for an edge
/// is activated once. Also says so if the core was to be changed and the change did nothing.
fn run_seed(
    seed: u64,
    case: &DrawnCase,
    pair: &Setup,
    context: &RunContext,
    rounds: Rounds,
) -> (Cycle, Option<&'static str>) {
    let edges = EDGES.map(ToOwned::to_owned);
    match AskedChange::for_edges(context, &edges) {
        Ok(change) => {
            let begun = change.clone();
            let begins = move |edge: &str| begun.begin_edge(edge);
            (run_rounds(seed, case, pair, Box::new(change.clone()), begins, rounds), change.idle())
        }
        Err(error) => (Cycle::inconclusive(error.to_string(), false), None),
    }
}

/// Runs one seed's cycle on a core with this change, and returns the rules that it judges.
pub(crate) fn judge_seed(seed: u64, change: Box<dyn FaultInjection>) -> Vec<RuleOutcome> {
    outcomes(seed, run_cycle(seed, &DrawnCase::of(seed), &Setup::vmware(), change, |_| ()))
}

/// As [`judge_seed`], for the sites of a scenario. `None`: the cycle came to no end, and no other
/// should be run.
///
/// # Errors
/// The simulator has no such sites.
pub(crate) fn judge_scenario(
    seed: u64,
    scenario: &Scenario,
    change: Box<dyn FaultInjection>,
) -> Result<Option<Vec<RuleOutcome>>> {
    let cycle = run_cycle(seed, &DrawnCase::of(seed), &setup(scenario)?, change, |_| ());
    Ok((!cycle.abandoned).then(|| outcomes(seed, cycle)))
}

/// The rules that a cycle judges.
fn outcomes(seed: u64, cycle: Cycle) -> Vec<RuleOutcome> {
    let mut rules = RuleLog::simulated();
    let name = CycleName { seed, kill: None };
    record(&mut ScenarioOutcome::begun("sim-vmware-azure", "", None), &mut rules, name, cycle);
    rules.into_outcomes()
}

/// Runs one seed's cycle on a core with this change. Calls `begins` as an edge begins.
pub(super) fn run_cycle(
    seed: u64,
    case: &DrawnCase,
    pair: &Setup,
    change: Box<dyn FaultInjection>,
    begins: impl Fn(&str) + Send + 'static,
) -> Cycle {
    run_rounds(seed, case, pair, change, begins, Rounds::new(1))
}

/// As [`run_cycle`], several times over the same machine and with the same core.
fn run_rounds(
    seed: u64,
    case: &DrawnCase,
    pair: &Setup,
    change: Box<dyn FaultInjection>,
    begins: impl Fn(&str) + Send + 'static,
    rounds: Rounds,
) -> Cycle {
    let (case, pair) = (case.clone(), case.setup(pair.clone()));
    let limit = time_limit::LIMIT.times(rounds.count());
    let run = move || {
        let (mut edges, missing) = (Vec::new(), Missing::default());
        let parts =
            CycleParts { case: &case, pair, change: &*change, begins: &begins, missing: &missing, rounds };
        let ended = simulator::run(seed, async |world| cycle(world, parts, &mut edges).await);
        Cycle { edges, ended, missing, abandoned: false }
    };
    let cycle = time_limit::within(limit, run);
    cycle.unwrap_or_else(|| Cycle::inconclusive(time_limit::why(), true))
}

/// Reduces the edges of many seeds to those that a report shows: of each kind the worst that
/// passed, and the first that failed.
pub(super) fn condense(edges: Vec<EdgeOutcome>) -> Vec<EdgeOutcome> {
    let mut kept: Vec<EdgeOutcome> = Vec::new();
    for kind in EDGES {
        let of_kind = edges.iter().filter(|edge| edge.name.starts_with(kind)).cloned();
        let (passed, failed): (Vec<_>, Vec<_>) = of_kind.partition(|edge| edge.verdict == Verdict::Pass);
        let count = passed.len();
        kept.extend(passed.into_iter().max_by_key(|edge| edge.rpo.ms).map(|mut worst| {
            worst.name = format!("{}, worst of {count}", worst.name);
            worst
        }));
        kept.extend(failed.into_iter().take(FAILURES_SHOWN));
    }
    let failed = |edge: &EdgeOutcome| edge.name.starts_with(OLDER_POINT) && edge.verdict != Verdict::Pass;
    kept.extend(edges.into_iter().filter(failed).take(FAILURES_SHOWN));
    kept
}

/// Adds a cycle's edges to the outcome and judges the rules by them.
pub(super) fn record(
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
    name: CycleName,
    cycle: Cycle,
) -> Verdict {
    let mut verdict = match (&cycle.ended, cycle.missing.get()) {
        (_, Some(capability)) => record_missing(outcome, rules, capability),
        (Ok(()), None) => {
            rules.check(LC_01, true, "every seed's cycle ended where it began");
            Verdict::Pass
        }
        (Err(error), None) => record_early_end(outcome, rules, name, error),
    };
    for edge in cycle.edges {
        let passed = edge.verdict == Verdict::Pass;
        rules.check(FO_10, passed, format!("{name}, {}: {}", edge.name, edge.disks[0].words));
        if edge.name.starts_with("failback") {
            let complete = passed && edge.rpo.records == 0;
            rules.check(LC_09, complete, format!("{name}: {} records lost", edge.rpo.records));
        } else {
            let is_up = edge.rto.ms > 0;
            rules.check(FO_09, is_up, format!("{name}: the machine from the lost site is up: {is_up}"));
        }
        if !passed && outcome.why.is_empty() {
            outcome.why = format!("{name}, {}: {}; {}", edge.name, edge.why, name.again());
        }
        verdict = verdict.and(edge.verdict);
        outcome.edges.push(edge);
    }
    verdict
}

/// Records that the rest of the cycle needs a capability that the core does not have.
fn record_missing(outcome: &mut ScenarioOutcome, rules: &mut RuleLog, capability: &str) -> Verdict {
    for rule in [LC_01, LC_09] {
        rules.skip(rule, capability);
    }
    outcome.why = missing::why(capability);
    Verdict::Skipped
}

/// Judges a cycle that ended early: it fails if the core is to blame, else it is unknown.
fn record_early_end(
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
    name: CycleName,
    end: &EarlyEnd,
) -> Verdict {
    let why = format!("{name}: {}; {}", end.error, name.again());
    if outcome.why.is_empty() {
        outcome.why.clone_from(&why);
    }
    match &end.error {
        ScenarioError::CoreViolation(_) if !end.unsupported => {
            rules.core_failed(end.rule, why.clone());
            rules.unknown(LC_01, why);
            Verdict::Fail
        }
        ScenarioError::Lacking(capability) => record_missing(outcome, rules, capability),
        _ => {
            rules.unknown(LC_01, why);
            Verdict::Unknown
        }
    }
}

/// The sites of the scenario's row.
pub(super) fn setup(scenario: &Scenario) -> Result<Setup> {
    let site = |name: &str| {
        SimProfile::by_name(name).with_context(|| format!("the simulator has no site called {name}"))
    };
    Ok(Setup::of(site(&scenario.source)?).to(site(&scenario.target)?))
}

/// What a cycle is run with.
struct CycleParts<'a> {
    case: &'a DrawnCase,
    pair: Setup,
    change: &'a dyn FaultInjection,
    begins: &'a dyn Fn(&str),
    missing: &'a Missing,
    rounds: Rounds,
}

/// Runs the rounds of a cycle and another failover, and adds each edge as it is judged.
async fn cycle(world: SimWorld, parts: CycleParts<'_>, edges: &mut Vec<EdgeOutcome>) -> Result<(), EarlyEnd> {
    let CycleParts { case, pair, change, begins, missing, mut rounds } = parts;
    let seed = world.seed();
    let testbed = testbed::open(world, pair, change, missing)?;
    let item = testbed.protect_machine(&case.install(MACHINE)).await?;
    // A core that is killed during a transfer may take the next point an interval later.
    let missed = change.kills().map_or(Millis(0), |_| Millis(case.interval().0 + DOWN.0));
    let age = Millis(case.interval().0 + missed.0);
    for round in 0..rounds.count() {
        let place = Place { seed, round, of: rounds.count() };
        let history = if round == 0 { case.history } else { History::Short };
        begins(EDGES[0]);
        testbed.wait_for_points(&item, if round == 0 { 4 } else { 3 }).await?;
        if let History::Long(time) = history {
            testbed.advance(time).await;
        }
        testbed.advance(Millis(place.draw().wrapping_mul(7919) % case.interval().0)).await;
        edges.push(fail_over(&testbed, (EDGES[0], history), place, age).await?);
        if !case.comes_back {
            return Ok(testbed.close().await?);
        }
        come_back(&testbed, place, begins, edges).await?;
        rounds.ended(edges, testbed.dir())?;
        testbed.sites().iter().for_each(|site| site.drop_earlier_boots());
    }
    begins(EDGES[2]);
    let place = Place { seed, round: 0, of: 1 };
    edges.push(fail_over(&testbed, (EDGES[2], History::Short), place, age).await?);
    Ok(testbed.close().await?)
}

/// Commits the failover, and takes the machine back to where it was and protected.
async fn come_back(
    testbed: &Testbed,
    place: Place,
    begins: &dyn Fn(&str),
    edges: &mut Vec<EdgeOutcome>,
) -> Result<(), EarlyEnd> {
    let item = item_of(MACHINE);
    testbed.commit(&item).await?;
    testbed.primary.restore();
    begins(EDGES[1]);
    reprotect(testbed, BACK).await?;
    testbed.advance(Millis(place.draw().wrapping_mul(104_729) % INTERVAL.0)).await;
    edges.push(fail_back(testbed, place).await?);
    testbed.commit(&item).await?;
    reprotect(testbed, OUT).await?;
    let at = testbed.item(&item).await?.protection;
    if at.phase == Phase::Protected && at.active == Side::Primary {
        return Ok(());
    }
    Err(EarlyEnd::core(LC_01, format!("the cycle ends {at:?}, not protected on the primary side")))
}

/// Which round of a seed's cycle it is.
#[derive(Clone, Copy)]
struct Place {
    seed: u64,
    /// From 0.
    round: u32,
    of: u32,
}

impl Place {
    /// What decides when something happens in this round.
    fn draw(self) -> u64 {
        self.seed.wrapping_add(u64::from(self.round))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}", self.seed)?;
        if self.of > 1 { write!(f, ", cycle {}", self.round + 1) } else { Ok(()) }
    }
}

async fn reprotect(testbed: &Testbed, direction: Direction) -> Result<(), TestbedError> {
    let item = item_of(MACHINE);
    testbed.advance(INTERVAL).await;
    testbed.reprotect(&testbed.reprotection(&item, direction)).await?;
    testbed.wait_for_points(&item, 3).await.map(drop)
}

/// Fails over from a lost site: to the latest point, or after a long history to any. A latest point
/// may be as old as `age`.
async fn fail_over(
    testbed: &Testbed,
    (kind, history): (&'static str, History),
    place: Place,
    age: Millis,
) -> Result<EdgeOutcome, TestbedError> {
    let item = item_of(MACHINE);
    let disaster = testbed.primary.lose();
    testbed.advance(Millis(1_000)).await;
    let began = testbed.world.clock().now();
    let (kind, choice, age) = match history {
        History::Short => (kind, PointChoice::Latest, age),
        History::Long(_) => {
            let points = testbed.processed_points(&item).await?;
            // The oldest ones may expire at any moment.
            let young = &points[points.len() / 8..];
            let chosen = young.get((place.seed % young.len().max(1) as u64) as usize);
            let chosen = chosen.ok_or_else(|| TestbedError::missing("a processed point"))?;
            (OLDER_POINT, PointChoice::Custom(chosen.id.clone()), disaster.since(chosen.time))
        }
    };
    testbed.fail_over(&item, choice).await?;
    testbed.advance(BOOT).await;
    let boots = testbed.boots(MACHINE)?;
    let name = format!("{kind} ({place})");
    let tolerated_loss = Millis(age.0 + TOLERANCE.0);
    Ok(judge(&Edge { name, boots, disaster, began, tolerated_loss }))
}

async fn fail_back(testbed: &Testbed, place: Place) -> Result<EdgeOutcome, TestbedError> {
    let began = testbed.world.clock().now();
    testbed.fail_back(&item_of(MACHINE)).await?;
    let boots = testbed.failback_boots(MACHINE, &testbed.primary)?;
    let disaster = boots.source.ended().map_or(began, |(at, _)| at);
    let name = format!("failback ({place})");
    Ok(judge(&Edge { name, boots, disaster, began, tolerated_loss: Millis(0) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::InjectedFault;
    use crate::soak::Edges;

    #[test]
    fn a_cycle_is_repeated_over_the_same_machine() {
        let none = || Box::new(InjectedFault::default());
        let rounds = Rounds::new(3);
        let cycle = run_rounds(1, &DrawnCase::usual(), &Setup::vmware(), none(), |_| (), rounds);
        assert!(cycle.ended.is_ok(), "{:?}", cycle.ended.err().map(|end| end.error.to_string()));
        let names: Vec<_> = cycle.edges.iter().map(|edge| edge.name.as_str()).collect();
        let expected = [
            "failover (seed 1, cycle 1)",
            "failback (seed 1, cycle 1)",
            "failover (seed 1, cycle 2)",
            "failback (seed 1, cycle 2)",
            "failover (seed 1, cycle 3)",
            "failback (seed 1, cycle 3)",
            "second failover (seed 1)",
        ];
        assert_eq!(names, expected);
        assert_eq!(Edges::of(&cycle.edges), Edges::all_exact(7));
    }
}
