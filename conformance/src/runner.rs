//! Runs one scenario as one test: opens it, runs it, takes everything down whatever happened, and
//! writes the result.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tracing::Instrument as _;

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::real::{self, ScenarioRun};
use crate::scenario::Scenario;

/// Compares the outcome of a scenario that passed with its snapshot; `Err` says how they differ.
pub type Compare = fn(&ScenarioOutcome) -> Result<(), String>;

/// Runs a scenario and returns its outcome, which is also in the evidence.
///
/// # Errors
/// The evidence cannot be written.
pub fn run(scenario: &Scenario, compare: Compare) -> Result<ScenarioOutcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_async(scenario, compare))
}

async fn run_async(scenario: &Scenario, compare: Compare) -> Result<ScenarioOutcome> {
    let run = RunContext::from_environment()?;
    let evidence = Arc::new(Evidence::begin(&run, &scenario.name)?);
    keep_log(&evidence)?;
    let mut outcome = ScenarioOutcome::begun(&scenario.name, &scenario.title, run.mutant.clone());
    let span = tracing::info_span!("scenario", scenario = scenario.name);
    let whole = open_and_run(&run, scenario, &evidence, &mut outcome);
    let error = whole.instrument(span).await;
    conclude(&mut outcome, error);
    let rounds = scenario.rounds(run.cycles);
    let expected = scenario.edges.len() * rounds as usize;
    if outcome.verdict == Verdict::Pass && outcome.edges.len() != expected {
        outcome.verdict = Verdict::Unknown;
        outcome.why = format!("{} of {expected} edges were judged", outcome.edges.len());
    }
    // The snapshot holds the trace of one round of a core without a mutant.
    if outcome.verdict == Verdict::Pass
        && run.mutant.is_none()
        && rounds == 1
        && let Err(difference) = compare(&outcome)
    {
        outcome.verdict = Verdict::Fail;
        outcome.why = difference;
    }
    outcome.ms = evidence.elapsed_ms();
    evidence.end(&outcome).context("write the result")?;
    Ok(outcome)
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
    let failed = error.is_some() || outcome.rules.iter().any(|rule| rule.score.verdict() != Verdict::Pass);
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

/// Sets the scenario's verdict: the worst of its edges, its rules and the error that ended it
/// early.
fn conclude(outcome: &mut ScenarioOutcome, error: Option<ScenarioError>) {
    let (verdict, why) = match error {
        None => (Verdict::Pass, String::new()),
        Some(ScenarioError::CoreViolation(why)) => (Verdict::Fail, why),
        Some(ScenarioError::Inconclusive(why)) => (Verdict::Unknown, why),
    };
    let edges = outcome.edges.iter().map(|edge| edge.verdict);
    let rules = outcome.rules.iter().map(|rule| rule.score.verdict());
    outcome.verdict = edges.chain(rules).fold(verdict, Verdict::and);
    let edge = outcome.edges.iter().find(|edge| edge.verdict == Verdict::Fail);
    let rule = outcome.rules.iter().find(|rule| rule.score.verdict() == Verdict::Fail);
    outcome.why = if let Some(edge) = edge {
        format!("{}: {}", edge.name, edge.why)
    } else if verdict == Verdict::Fail {
        why
    } else if let Some(rule) = rule {
        rule.to_string()
    } else {
        why
    };
}
