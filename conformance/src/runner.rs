//! Runs one scenario as one test: opens it, runs it, takes everything down whatever happened, and
//! writes the result.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use contract::Bytes;
use tracing::Instrument as _;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::host_facts::note_host;
use crate::host_watch::HostWatch;
use crate::outcome::{EdgeOutcome, ScenarioOutcome, Verdict};
use crate::packed::{self, Compacted};
use crate::real::{self, ScenarioRun};
use crate::rules::{RuleId, RuleLog};
use crate::runtime;
use crate::scenario::Scenario;

/// Compares the outcome of a scenario that passed with its snapshot; `Err` says how they differ.
pub type Compare = fn(&ScenarioOutcome) -> Result<(), String>;

/// Runs a scenario and returns its outcome, which is also in the evidence.
///
/// # Errors
/// The evidence cannot be written.
pub fn run(scenario: &Scenario, compare: Compare) -> Result<ScenarioOutcome> {
    runtime::block_on(run_async(scenario, compare))?
}

async fn run_async(scenario: &Scenario, compare: Compare) -> Result<ScenarioOutcome> {
    let run = RunContext::from_environment()?;
    let evidence = Arc::new(Evidence::begin(&run, &scenario.name)?);
    note_host(&run.dir, evidence.dir())?;
    keep_log(&evidence)?;
    let watch = HostWatch::begin().context("watch the host's clocks")?;
    let mut outcome = ScenarioOutcome::begun(&scenario.name, &scenario.title, run.mutant.clone());
    let span = tracing::info_span!("scenario", scenario = scenario.name);
    let whole = open_and_run(&run, scenario, &evidence, &mut outcome);
    let error = whole.instrument(span).await;
    let error = unless_excused(&mut outcome, watch.end(), error);
    note_promises(&mut outcome, &scenario.promises, error.as_ref());
    conclude(&mut outcome, error);
    let rounds = scenario.rounds(run.cycles);
    let expected = scenario.edges.len() * rounds as usize;
    if outcome.verdict == Verdict::Skipped {
        add_skipped_edges(&mut outcome, &scenario.edges);
    }
    if outcome.verdict == Verdict::Pass && outcome.edges.len() != expected {
        outcome.verdict = Verdict::Unknown;
        outcome.why = format!("{} of {expected} edges were judged", outcome.edges.len());
    }
    // The snapshot holds the trace of one round of the built-in core.
    if run.opens_built_in_core() && rounds == 1 {
        note_regression(&mut outcome, compare);
    }
    outcome.ms = evidence.elapsed_ms();
    evidence.end(&outcome).context("write the result")?;
    pack(&evidence, &outcome);
    Ok(outcome)
}

/// Packs the evidence of a scenario that passed. If that fails, all of it is kept.
fn pack(evidence: &Evidence, outcome: &ScenarioOutcome) {
    if outcome.verdict != Verdict::Pass {
        return;
    }
    let step = evidence.step("finish", "pack the evidence");
    match step.with(packed::compact(evidence.dir(), outcome)) {
        Ok(Some(Compacted { before, after, took })) => {
            let (before, after) = (Bytes(before), Bytes(after));
            tracing::info!("packed the evidence: {before} became {after} in {} ms", took.as_millis());
        }
        Ok(None) => {}
        Err(error) => tracing::warn!("the evidence is not packed, and all of it is kept: {error:#}"),
    }
}

/// Adds the edges that were not reached.
fn add_skipped_edges(outcome: &mut ScenarioOutcome, edges: &[String]) {
    for name in edges {
        if !outcome.edges.iter().any(|edge| edge.name == *name) {
            outcome.edges.push(EdgeOutcome::skipped(name, &outcome.why));
        }
    }
}

/// Writes the log of core, stand-ins and suite into the evidence. Each test is a process of its
/// own, so there is one log for each scenario.
fn keep_log(evidence: &Evidence) -> Result<()> {
    let path = evidence.dir().join("log.jsonl");
    let file = std::fs::File::create(&path).with_context(|| format!("write {path}"))?;
    let log =
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::DEBUG).with_writer(Arc::new(file));
    // If several scenarios run in one process, all of them log to the file of the first.
    let _ = log.try_init();
    Ok(())
}

/// Opens and runs a scenario. Returns the error that ended it early, if any.
async fn open_and_run(
    run: &RunContext,
    scenario: &Scenario,
    evidence: &Arc<Evidence>,
    outcome: &mut ScenarioOutcome,
) -> Option<ScenarioError> {
    match real::open(run, scenario, evidence).await {
        Ok(scenario) => run_and_close(scenario, outcome).await,
        Err(error) => Some(error),
    }
}

/// Runs a scenario until it ends, fails, panics or is interrupted; then records what it found and
/// takes everything down. Returns the error that ended it early, if any.
async fn run_and_close(
    scenario: Arc<dyn ScenarioRun>,
    outcome: &mut ScenarioOutcome,
) -> Option<ScenarioError> {
    let running = Arc::clone(&scenario);
    let task = tokio::spawn(async move { running.run().await }.in_current_span());
    let stop = task.abort_handle();
    let error = tokio::select! {
        ended = task => match ended {
            Ok(result) => result.err(),
            Err(panic) => Some(ScenarioError::Inconclusive(format!("the suite itself failed: {panic}"))),
        },
        signal = interrupted() => {
            stop.abort();
            Some(ScenarioError::Inconclusive(format!("stopped by {signal}")))
        }
    };
    scenario.record(outcome).await;
    let ends = scenario.unexplained_ends().await;
    let ends = ends.iter().map(|end| end.error.to_string()).reduce(|all, end| format!("{all}; {end}"));
    let error = unless_excused(outcome, ends, error);
    let failed = error.is_some() || outcome.rules.iter().any(|rule| rule.score.verdict() > Verdict::Pass);
    match scenario.close(failed).await {
        Err(close_error) if error.is_none() => {
            Some(ScenarioError::Inconclusive(format!("clean-up: {close_error}")))
        }
        _ => error,
    }
}

/// Waits for a signal that asks the test to end, and returns its name.
async fn interrupted() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "an interrupt",
        _ = terminate.recv() => "a termination signal",
    }
}

/// Compares the trace of the built-in core with its snapshot. A difference is a regression like an
/// exceeded time bound, and no broken rule: the trace holds names and order of job steps, which the
/// contract leaves to each core. So another core is not compared at all.
fn note_regression(outcome: &mut ScenarioOutcome, compare: Compare) {
    if outcome.verdict == Verdict::Pass
        && let Err(difference) = compare(outcome)
    {
        outcome.slow.push(difference);
    }
}

/// Records that nothing can be said about the rules that a scenario promised to judge and did not.
/// They are skipped if the core lacks what the scenario needs.
fn note_promises(outcome: &mut ScenarioOutcome, promises: &[RuleId], error: Option<&ScenarioError>) {
    let mut log = RuleLog::default();
    let is_missing = |rule: &&RuleId| !outcome.rules.iter().any(|known| known.id == **rule);
    for rule in promises.iter().filter(is_missing) {
        match error {
            Some(ScenarioError::Lacking(capability)) => log.skip(*rule, capability),
            Some(_) => log.unknown(*rule, "the scenario ended before it judged this rule"),
            None => log.unknown(*rule, "the scenario promised to judge this rule and did not"),
        }
    }
    outcome.rules.extend(log.into_outcomes());
    outcome.rules.sort_by_key(|rule| rule.id);
}

/// The error of a scenario that ended with `error`. An `excuse` says what may be the reason for all
/// that was found in it, and not the core: processes ended that nobody had asked to, or no time can
/// be judged. Then the scenario is inconclusive, also if nothing was found broken.
fn unless_excused(
    outcome: &mut ScenarioOutcome,
    excuse: Option<String>,
    error: Option<ScenarioError>,
) -> Option<ScenarioError> {
    let why = match (excuse, error) {
        (None, error) => return error,
        (Some(excuse), Some(ScenarioError::Inconclusive(why))) => format!("{excuse}; {why}"),
        (Some(excuse), _) => excuse,
    };
    outcome.take_blame_back(&why);
    Some(ScenarioError::Inconclusive(why))
}

/// Sets the scenario's verdict: the worst of its edges, its rules and the error that ended it
/// early. The reason is the worst of these, too.
fn conclude(outcome: &mut ScenarioOutcome, error: Option<ScenarioError>) {
    let (verdict, why) = match error {
        None => (Verdict::Pass, String::new()),
        Some(ScenarioError::CoreViolation(why)) => (Verdict::Fail, why),
        Some(ScenarioError::Inconclusive(why)) => (Verdict::Unknown, why),
        Some(error @ ScenarioError::Lacking(_)) => (Verdict::Skipped, error.to_string()),
    };
    let edges = outcome.edges.iter().map(|edge| edge.verdict);
    let rules = outcome.rules.iter().map(|rule| rule.score.verdict());
    outcome.verdict = edges.chain(rules).fold(verdict, Verdict::and);
    if verdict == Verdict::Skipped && outcome.verdict == Verdict::Pass {
        // What was judged before is no pass of the whole scenario.
        outcome.verdict = Verdict::Skipped;
    }
    let worst = outcome.verdict;
    let edge = outcome.edges.iter().find(|edge| edge.verdict == worst);
    let rule = outcome.rules.iter().find(|rule| rule.score.verdict() == worst);
    outcome.why = match (edge, rule) {
        _ if worst == Verdict::Pass => String::new(),
        (Some(edge), _) => format!("{}: {}", edge.name, edge.why),
        _ if verdict == worst => why,
        (None, Some(rule)) => rule.to_string(),
        (None, None) => why,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report;
    use crate::rules::ids::{FO_04, ST_02};

    /// The outcome of a scenario that has judged these rules so far.
    fn judged(rules: RuleLog) -> ScenarioOutcome {
        let mut outcome = ScenarioOutcome::begun("vmware-azure", "", None);
        outcome.rules = rules.into_outcomes();
        outcome
    }

    fn concluded(rules: RuleLog, error: Option<ScenarioError>) -> ScenarioOutcome {
        let mut outcome = judged(rules);
        conclude(&mut outcome, error);
        outcome
    }

    #[test]
    fn a_stand_in_that_is_not_as_described_makes_the_run_unknown_and_says_so() {
        let mut rules = RuleLog::default();
        rules.check(ST_02, false, "3 leaked clusters");
        let outcome = concluded(rules.clone(), None);
        assert_eq!(outcome.verdict, Verdict::Unknown);
        assert!(outcome.why.starts_with("ST-02") && outcome.why.contains("3 leaked clusters"));
        rules.check(FO_04, false, "3 points left");
        let outcome = concluded(rules, None);
        assert_eq!(outcome.verdict, Verdict::Fail);
        assert!(outcome.why.starts_with("FO-04"), "{}", outcome.why);
    }

    #[test]
    fn evidence_that_is_missing_is_unknown_and_a_violation_outranks_it() {
        let mut rules = RuleLog::default();
        rules.unknown(FO_04, "entries are missing at the end of the log");
        let outcome = concluded(rules.clone(), Some(ScenarioError::inconclusive("the log is incomplete")));
        assert_eq!((outcome.verdict, outcome.why.as_str()), (Verdict::Unknown, "the log is incomplete"));
        let outcome = concluded(rules, Some(ScenarioError::core("both sides run")));
        assert_eq!((outcome.verdict, outcome.why.as_str()), (Verdict::Fail, "both sides run"));
    }

    #[test]
    fn a_promised_rule_that_was_not_judged_is_unknown_and_a_violation_outranks_it() {
        let with_promises = |rules: RuleLog, error: Option<ScenarioError>| {
            let mut outcome = judged(rules);
            note_promises(&mut outcome, &[FO_04, ST_02], error.as_ref());
            conclude(&mut outcome, error);
            outcome
        };
        let mut rules = RuleLog::default();
        rules.check(ST_02, true, "9 images checked");
        let outcome = with_promises(rules.clone(), None);
        assert_eq!(report::exit_code(outcome.verdict, false), 3);
        assert!(outcome.why.starts_with("FO-04") && outcome.why.contains("promised"), "{}", outcome.why);
        assert_eq!(outcome.rules.len(), 2, "a rule that was judged stays as it is");
        let failed = with_promises(rules.clone(), Some(ScenarioError::core("both sides run")));
        assert_eq!((failed.verdict, failed.why.as_str()), (Verdict::Fail, "both sides run"));
        assert_eq!(failed.rules[0].verdict, Verdict::Unknown);
        rules.check(FO_04, true, "0 points left");
        assert_eq!(with_promises(rules, None).verdict, Verdict::Pass);
    }

    /// The outcome of a scenario for which there is this excuse.
    fn excused(rules: RuleLog, excuse: &str, error: Option<ScenarioError>) -> ScenarioOutcome {
        let mut outcome = judged(rules);
        let error = unless_excused(&mut outcome, Some(excuse.to_owned()), error);
        conclude(&mut outcome, error);
        outcome
    }

    #[test]
    fn nobody_is_to_blame_while_no_time_can_be_judged() {
        let mut rules = RuleLog::default();
        rules.check(FO_04, false, "the point is an hour old");
        let overdue = Some(ScenarioError::core("job 7 did not end in 300s"));
        let outcome = excused(rules, "the clock was set", overdue);
        assert_eq!((outcome.verdict, outcome.why.as_str()), (Verdict::Unknown, "the clock was set"));
        assert!(outcome.rules[0].found.contains("an hour old; the clock"), "{}", outcome.rules[0].found);
    }

    #[test]
    fn nothing_passes_while_no_time_can_be_judged() {
        let mut rules = RuleLog::default();
        rules.check(FO_04, true, "the point is a second old");
        let outcome = excused(rules.clone(), "the suite stood still", None);
        assert_eq!((outcome.verdict, outcome.why.as_str()), (Verdict::Unknown, "the suite stood still"));
        let mut outcome = judged(rules);
        let error = unless_excused(&mut outcome, None, None);
        conclude(&mut outcome, error);
        assert_eq!(outcome.verdict, Verdict::Pass);
    }

    #[test]
    fn nobody_is_to_blame_after_an_end_that_nobody_asked_for() {
        let mut rules = RuleLog::default();
        rules.check(FO_04, false, "the target is off");
        let died = Some(ScenarioError::inconclusive("the guest died"));
        let outcome = excused(rules.clone(), "QEMU crashed", died);
        assert_eq!(outcome.verdict, Verdict::Unknown);
        assert_eq!(outcome.why, "QEMU crashed; the guest died");
        let blamed = excused(rules, "QEMU crashed", Some(ScenarioError::core("both sides run")));
        assert_eq!(blamed.why, "QEMU crashed", "what the core is blamed for is no reason");
    }

    #[test]
    fn an_edge_keeps_only_the_blame_for_what_its_disks_hold() {
        let failed = |objection: Option<&str>| {
            let mut edge = EdgeOutcome::skipped("failover", "the machine did not come up");
            edge.verdict = Verdict::Fail;
            edge.evidence.objection = objection.map(ToOwned::to_owned);
            let mut outcome = ScenarioOutcome::begun("vmware-azure", "", None);
            outcome.edges = vec![edge];
            let error = unless_excused(&mut outcome, Some("QEMU crashed".to_owned()), None);
            conclude(&mut outcome, error);
            outcome
        };
        let outcome = failed(None);
        assert_eq!(outcome.verdict, Verdict::Unknown);
        assert_eq!(outcome.why, "failover: the machine did not come up; QEMU crashed");
        assert_eq!(failed(Some("disk data is torn")).verdict, Verdict::Fail);
    }

    #[test]
    fn a_difference_from_the_snapshot_is_a_regression_and_no_broken_rule() {
        let differs: Compare = |_| Err("the trace differs".to_owned());
        let mut outcome = concluded(RuleLog::default(), None);
        note_regression(&mut outcome, differs);
        assert_eq!((outcome.verdict, outcome.slow.len()), (Verdict::Pass, 1));
        let mut failed = concluded(RuleLog::default(), Some(ScenarioError::core("both sides run")));
        note_regression(&mut failed, differs);
        assert_eq!(failed.slow.len(), 0, "the trace of a scenario that ended early says nothing");
    }

    #[test]
    fn a_scenario_in_which_everything_held_passes_without_a_reason() {
        let mut rules = RuleLog::default();
        rules.check(FO_04, true, "0 points left");
        let outcome = concluded(rules, None);
        assert_eq!((outcome.verdict, outcome.why.as_str()), (Verdict::Pass, ""));
    }
}
