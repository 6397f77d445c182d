//! The simulated tier: the core under test between sites in memory, under a virtual clock.
//!
//! - `seeded_cycles`: failover, reprotection, failback and reprotection, once for each of many
//!   seeds; `drawn_case`: what a seed draws; `shrink`: the smallest case that fails
//! - `judged_edge`: judges an edge of a cycle
//! - `cycle_name`: which of many cycles one is; `rounds`: how often one is repeated
//! - `killed_cycles`: such cycles with a core that is killed on the way
//! - `checks`: single rules, one file for each topic; `check` defines what a check is, `runner`
//!   runs them
//! - `first_failure`: whether a core is rejected, with the first reason only
//! - `time_limit`: ends a simulation that comes to no end by itself
//! - `early_end`: which rule a check that ends early says something about
//! - `side_effects`: refusals, and what a refused request must not change
//! - `attempt`: requests that a fault stands in the way of
//! - `disks`: comparisons of disks; `amounts`: how much may be transferred
//! - `cost`: how long calls and cycles take; `one_cpu`: where suite and core take turns
//! - `testbed`: the sites, and the one place where the core is opened

mod amounts;
mod attempt;
mod check;
mod checks;
mod cost;
mod cycle_name;
mod disks;
mod drawn_case;
mod early_end;
mod first_failure;
mod judged_edge;
mod killed_cycles;
mod one_cpu;
mod rounds;
mod runner;
mod seeded_cycles;
mod shrink;
mod side_effects;
mod testbed;
mod time_limit;

use anyhow::{Context as _, Result};
use wire::protocol::Time;

use crate::context::RunContext;
use crate::core_change::AskedChange;
use crate::evidence::Evidence;
use crate::host_facts::note_host;
use crate::host_watch::HostWatch;
use crate::missing::{self, Missing};
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::rules::RuleLog;
use crate::scenario::Scenario;
use crate::wire_core::{self, CoreChoice};

pub use check::Check;
pub(crate) use cost::{time_of_calls, time_of_cycle};
pub use first_failure::{FirstFailure, first_failure};
pub(crate) use one_cpu::stay_on_one;
pub use runner::{CheckedRules, Judged, judge, run_checks_for};

/// The capability of a core that keeps the suite's virtual time over the wire.
const VIRTUAL_TIME: &str = "virtual-time";

/// Every check of single rules.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    checks::all()
}

/// What the core under test calls itself.
fn core_name(context: &RunContext) -> Result<String> {
    let change = AskedChange::for_checks(context)?;
    simulator::run(0, async |world| {
        let testbed = testbed::open(world, testbed::Setup::vmware(), &change, &Missing::default())?;
        let name = testbed.core.capabilities().await?.name;
        testbed.close().await?;
        Ok(name)
    })
}

/// Runs a scenario of the simulated tier, writes its outcome into the evidence, and returns it.
///
/// # Errors
/// The environment is malformed, or the evidence cannot be written.
pub fn run(scenario: &Scenario) -> Result<ScenarioOutcome> {
    let context = RunContext::from_environment()?;
    let evidence = Evidence::begin(&context, &scenario.name)?;
    note_host(&context.dir, evidence.dir())?;
    let mut outcome = ScenarioOutcome::begun(&scenario.name, &scenario.title, context.mutant.clone());
    // Every cycle and every check opens a core of its own; all are of this kind.
    let mut rules = RuleLog::simulated();
    // A core in this process has no limit by the host's clock.
    let is_process = matches!(CoreChoice::selected(), Ok(CoreChoice::Wire(_)));
    let watch = is_process.then(HostWatch::begin).transpose().context("watch the host's clocks")?;
    let verdict = match identify(&context, &evidence) {
        Err(why) => {
            outcome.why = why;
            Verdict::Unknown
        }
        Ok(core) => {
            outcome.core = core.name;
            match core.has_virtual_time {
                true => run_script(&context, scenario, &evidence, &mut outcome, &mut rules)?,
                false => skip_all(scenario, &mut outcome, &mut rules),
            }
        }
    };
    outcome.rules = rules.into_outcomes();
    outcome.verdict = outcome.rules.iter().map(|rule| rule.score.verdict()).fold(verdict, Verdict::and);
    if verdict == Verdict::Skipped && outcome.verdict == Verdict::Pass {
        // What was judged before a capability was missing is no pass of the whole scenario.
        outcome.verdict = Verdict::Skipped;
    }
    if let Some(why) = watch.and_then(HostWatch::end_in_virtual_time) {
        excuse(&mut outcome, &why);
    }
    outcome.ms = evidence.elapsed_ms();
    evidence.end(&outcome).context("write the result")?;
    Ok(outcome)
}

/// Takes back what was found broken while the suite stood still, for the reason `why`: a core that
/// is a process of its own may have answered in time. What passed in virtual time stays.
fn excuse(outcome: &mut ScenarioOutcome, why: &str) {
    if outcome.verdict != Verdict::Fail {
        return;
    }
    outcome.take_blame_back(why);
    let edges = outcome.edges.iter().map(|edge| edge.verdict);
    let rules = outcome.rules.iter().map(|rule| rule.score.verdict());
    outcome.verdict = edges.chain(rules).fold(Verdict::Unknown, Verdict::and);
    if outcome.verdict == Verdict::Unknown {
        outcome.why = format!("{why}; {}", outcome.why);
    }
}

fn run_script(
    context: &RunContext,
    scenario: &Scenario,
    evidence: &Evidence,
    outcome: &mut ScenarioOutcome,
    rules: &mut RuleLog,
) -> Result<Verdict> {
    Ok(match scenario.script.as_str() {
        "sim-cycle" => match context.kills {
            None => seeded_cycles::run(context, scenario, evidence, outcome, rules)?,
            Some(choice) => {
                let (seeds, pair) = (seeded_cycles::seeds(context)?, seeded_cycles::setup(scenario)?);
                killed_cycles::run(&seeds, &pair, choice, evidence, outcome, rules)
            }
        },
        "sim-rules" => runner::run_all(context, evidence, outcome, rules),
        _ => anyhow::bail!("scenario {} is not of the simulated tier", scenario.name),
    })
}

/// Skips a scenario: virtual time would not wait for a core that keeps the host's time.
fn skip_all(scenario: &Scenario, outcome: &mut ScenarioOutcome, rules: &mut RuleLog) -> Verdict {
    if scenario.script == "sim-rules" {
        let all = checks::all().flat_map(|check| check.rules);
        all.for_each(|rule| rules.skip(*rule, VIRTUAL_TIME));
    }
    outcome.why = missing::why(VIRTUAL_TIME);
    Verdict::Skipped
}

/// The core under test, as a run of the simulated tier finds it.
struct Identified {
    /// Its name, and how it was opened.
    name: String,
    /// Whether it can keep the suite's virtual time.
    has_virtual_time: bool,
}

/// Finds out which core is under test, or why it cannot be opened.
fn identify(context: &RunContext, evidence: &Evidence) -> Result<Identified, String> {
    let address = match CoreChoice::selected().map_err(|error| error.to_string())? {
        CoreChoice::BuiltIn => {
            // A core that does not say its name fails the checks.
            let name = core_name(context);
            let name = name.unwrap_or_else(|error| format!("a core without a name ({error:#})"));
            return Ok(Identified { name, has_virtual_time: true });
        }
        CoreChoice::Wire(address) => address,
    };
    stay_on_one();
    let log = evidence.dir().join("core.log");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("start a runtime: {error}"))?;
    let identity = runtime.block_on(wire_core::identify(&address, Some(log.as_std_path())));
    match identity {
        Ok(identity) => Ok(Identified {
            name: format!("{identity}, simulated platforms"),
            has_virtual_time: identity.time.contains(&Time::Virtual),
        }),
        Err(error) => Err(format!("the core `{address}` cannot be opened: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ids::{FO_04, LC_01};

    /// The outcome of a scenario in which this was found out about one rule, and another passed.
    fn found(verdict: Verdict) -> ScenarioOutcome {
        let mut rules = RuleLog::simulated();
        rules.check(LC_01, true, "it ended where it began");
        rules.check(FO_04, verdict == Verdict::Pass, "no answer within 120 s");
        let mut outcome = ScenarioOutcome::begun("sim-rules", "", None);
        outcome.rules = rules.into_outcomes();
        outcome.verdict = verdict;
        outcome.why = "seed 7".to_owned();
        outcome
    }

    #[test]
    fn nothing_failed_for_certain_while_the_suite_stood_still() {
        let mut outcome = found(Verdict::Fail);
        excuse(&mut outcome, "it stood still");
        assert_eq!((outcome.verdict, outcome.why.as_str()), (Verdict::Unknown, "it stood still; seed 7"));
        let verdicts: Vec<_> = outcome.rules.iter().map(|rule| rule.score.verdict()).collect();
        assert!(verdicts.contains(&Verdict::Pass) && !verdicts.contains(&Verdict::Fail), "{verdicts:?}");
    }

    #[test]
    fn what_passed_in_virtual_time_stays_although_the_suite_stood_still() {
        let mut outcome = found(Verdict::Pass);
        excuse(&mut outcome, "it stood still");
        assert_eq!((outcome.verdict, outcome.why.as_str()), (Verdict::Pass, "seed 7"));
    }
}
