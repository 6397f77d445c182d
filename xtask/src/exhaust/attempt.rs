//! One run from which something is taken away, and what is found afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use super::cases::{Case, Moment};
use super::condition::Condition;
use super::judge::{self, Said};
use crate::conformance::scenarios::Tier;
use crate::process::holds_within;
use crate::terminal::human;
use crate::torture::processes::{Family, Process};
use crate::torture::remains::Before;
use crate::torture::results::Codes;
use crate::torture::runs::{Running, Runs, ended};

/// The time in which all processes of a run that has ended are gone.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// What a run did.
pub struct Attempt {
    /// One line for people.
    pub line: String,
    /// What is wrong; empty if nothing is.
    pub wrong: Vec<String>,
}

/// Runs a case once, with this much left. `is_last` is the run with the most.
pub fn run(runs: &Runs<'_>, case: &Case, left: u64, number: u64, is_last: bool) -> Result<Attempt> {
    let before = Before::now();
    let condition = Condition::prepare(runs, case, left, number)?;
    let runs = Runs { temporary: condition.temporary.clone(), ..*runs };
    let began = Instant::now();
    let (running, code, mut wrong) = disturbed(&runs, case, &condition, number)?;
    let took = began.elapsed();
    condition.give_back()?;
    let family = runs.family(&running);
    wrong.extend(
        family.ends_within(GONE_WITHIN).iter().map(|one| format!("goes on: {}", one.words.join(" "))),
    );
    let said = Said::read(&runs.log(number));
    wrong.extend(judge::ending(case, code, &said, is_last));
    let (report, recheck) = runs.judged(&running.out, number)?;
    wrong.extend(judge::evidence(&running.out, &Codes { run: code, report, recheck }));
    wrong.extend(runs.clean(&family, &before, number)?);
    if !wrong.is_empty() {
        condition.keep_evidence(runs.dir, number)?;
    }
    drop(condition);
    wrong.extend(runs.foreign.missing());
    let code = code.map_or("killed".to_owned(), |code| format!("exit {code}"));
    let line = format!("{code} after {}: {}", human(took), said.line(case.says));
    Ok(Attempt { line, wrong })
}

/// Starts a run, takes away what the case is about and waits for the end. Returns the run, its exit
/// code and what was wrong until then.
fn disturbed(
    runs: &Runs<'_>,
    case: &Case,
    condition: &Condition,
    number: u64,
) -> Result<(Running, Option<i32>, Vec<String>)> {
    let mut wrong = Vec::new();
    if case.moment == Moment::Before {
        condition.take(&Family { mark: runs.name, out: &condition.out, root: 0 })?;
    }
    let mut running = start(runs, case, condition, number)?;
    if case.moment != Moment::Before {
        let family = runs.family(&running);
        if reached(case, &family, &running.out) {
            condition.take(&family)?;
        } else {
            wrong.push(format!("the run ended before its moment ({:?})", case.moment));
        }
    }
    let code = match ended(&mut running.child, case.within) {
        Ok(status) => status.code(),
        Err(error) => {
            wrong.push(error.to_string());
            None
        }
    };
    Ok((running, code, wrong))
}

fn start(runs: &Runs<'_>, case: &Case, condition: &Condition, number: u64) -> Result<Running> {
    let out = condition.out.clone();
    let mut words = runs.words(&out, &condition.history);
    words.extend(["--connect", &condition.uri, "--scenario", case.scenario]);
    if case.tier() == Tier::Sim {
        words.extend(["--seeds", "8"]);
    }
    let mut command = runs.product(&condition.wrapper, &words, &runs.log(number))?;
    command.envs(condition.variables.iter().map(|(name, value)| (name, value)));
    let child = command.spawn().context("tried to start a run")?;
    Ok(Running { child, out })
}

/// Waits for the moment of a case. Returns whether the run was still there then.
fn reached(case: &Case, family: &Family<'_>, out: &Utf8Path) -> bool {
    let has_come = || match case.moment {
        Moment::Before => true,
        Moment::Examined => family.has_child(),
        Moment::File(name) => out.join(name).exists(),
        Moment::Progress(part) => {
            std::fs::read_to_string(out.join("progress.jsonl")).is_ok_and(|text| text.contains(part))
        }
    };
    let mut is_there = true;
    holds_within(case.within, || {
        is_there = Process::find(family.root).is_some();
        has_come() || !is_there
    }) && is_there
}
