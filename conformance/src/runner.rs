//! One scenario as one test: set up, run, clean up whatever happened, and write the result.

use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::blame::ScenarioError;
use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::{ScenarioOutcome, Verdict};
use crate::real::{self, ScenarioRun};
use crate::scenario::Scenario;

/// Compares an outcome that passed with what it was the last time; `Err`: how it differs.
pub type Compare = fn(&ScenarioOutcome) -> Result<(), String>;

/// Runs a scenario and returns its outcome, which is also in the evidence.
///
/// # Errors
/// Not even evidence could be written.
pub fn run(scenario: &Scenario, compare: Compare) -> Result<ScenarioOutcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_async(scenario, compare))
}

async fn run_async(scenario: &Scenario, compare: Compare) -> Result<ScenarioOutcome> {
    let context = RunContext::from_environment()?;
    let evidence = Arc::new(Evidence::begin(&context, &scenario.name)?);
    keep_log(&evidence)?;
    let mut outcome = ScenarioOutcome::begun(&scenario.name, &scenario.title, context.mutant.clone());
    let halted = match real::open(&context, scenario, &evidence).await {
        Ok(play) => live(play, &mut outcome).await,
        Err(halt) => Some(halt),
    };
    conclude(&mut outcome, halted);
    let rounds = scenario.script.rounds(context.cycles);
    let expected = scenario.edges.len() * rounds as usize;
    if outcome.verdict == Verdict::Pass && outcome.edges.len() != expected {
        outcome.verdict = Verdict::Unknown;
        outcome.why = format!("{} of {expected} edges were judged", outcome.edges.len());
    }
    // A faulty core's order of things, or that of several rounds, is nobody's reference.
    if outcome.verdict == Verdict::Pass
        && context.mutant.is_none()
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

/// What core and stand-ins log goes into the evidence. A test is a process of its own, so there is one log.
fn keep_log(evidence: &Evidence) -> Result<()> {
    let path = evidence.dir().join("log.jsonl");
    let file = std::fs::File::create(&path).with_context(|| format!("write {path}"))?;
    let log =
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::DEBUG).with_writer(Arc::new(file));
    // Somebody who runs several in one process by hand keeps the first.
    let _ = log.try_init();
    Ok(())
}

/// Runs the cycle until it ends, halts, panics or is interrupted; then takes everything down.
async fn live(play: Arc<dyn ScenarioRun>, outcome: &mut ScenarioOutcome) -> Option<ScenarioError> {
    let running = Arc::clone(&play);
    let task = tokio::spawn(async move { running.run().await });
    let stop = task.abort_handle();
    let halted = tokio::select! {
        ended = task => match ended {
            Ok(result) => result.err(),
            Err(panic) => Some(ScenarioError::Inconclusive(format!("the suite itself failed: {panic}"))),
        },
        signal = interrupted() => {
            stop.abort();
            Some(ScenarioError::Inconclusive(format!("stopped by {signal}")))
        }
    };
    play.record(outcome).await;
    let failed = halted.is_some() || outcome.rules.iter().any(|rule| rule.score.verdict() != Verdict::Pass);
    match play.close(failed).await {
        Err(error) if halted.is_none() => Some(ScenarioError::Inconclusive(format!("clean-up: {error}"))),
        _ => halted,
    }
}

/// Returns the name of the signal that asks the test to end.
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

/// The scenario's verdict: the worst of its edges and rules, and of what halted it.
fn conclude(outcome: &mut ScenarioOutcome, halted: Option<ScenarioError>) {
    let (verdict, why) = match halted {
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
