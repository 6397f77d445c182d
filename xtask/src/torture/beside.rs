//! Suites that run at the same time on one host, from one checkout or two: none of them affects
//! another.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::processes::MARK;
use super::remains::Before;
use super::results::{self, Codes, good};
use super::runs::{DONE_WITHIN, Running, Runs, ended};
use crate::cargo::{SELECTION, build, cargo};
use crate::process::wait_bounded;
use crate::terminal::{human, say};

/// What has to be built in a checkout before its run can be timed like others.
const BUILT: [&str; 8] = ["--bin", "xtask", "--bin", "roundtrip-suite", "--test", "real", "--test", "sim"];
/// How long a clean-up waits before the next one.
const BETWEEN: Duration = Duration::from_secs(1);

/// Makes a clone of the last commit of this work tree in `dir`, unless it is there, and builds it.
pub fn clone(root: &Utf8Path, dir: &Utf8Path) -> Result<Utf8PathBuf> {
    if !dir.join("Cargo.toml").exists() {
        let cloned = Command::new("git").args(["clone", "--quiet", root.as_str(), dir.as_str()]).status();
        anyhow::ensure!(cloned.context("start git")?.success(), "git cannot clone {root} to {dir}");
    }
    let dir = dir.canonicalize_utf8()?;
    let mut command = cargo(&dir);
    command.arg("build").args(SELECTION).args(BUILT).arg("--message-format=json-render-diagnostics");
    build("build the other checkout", &mut command)?;
    Ok(dir)
}

/// Runs `count` suites at the same time, every second one from the other checkout if there is one,
/// and cleans up again and again meanwhile. Returns what is wrong.
pub fn run(runs: &Runs<'_>, options: &[String], other: Option<&Utf8Path>, count: u64) -> Result<Vec<String>> {
    let before = Before::now();
    let began = Instant::now();
    let numbers: Vec<u64> = (1..=count).collect();
    let start = |number: &u64| start(runs, options, other.filter(|_| number.is_multiple_of(2)), *number);
    let mut running = numbers.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut wrong = Vec::new();
    let mut cleaned = 0;
    for one in &mut running {
        while wait_bounded(&mut one.child, BETWEEN)?.is_none() && began.elapsed() < DONE_WITHIN {
            let code = runs.done(&["clean", "--connect", runs.uri, "--yes"], 0)?;
            cleaned += 1;
            wrong.extend((code != 0).then(|| format!("clean beside the runs ends with {code}")));
        }
    }
    for (number, one) in numbers.iter().zip(&mut running) {
        let code = ended(&mut one.child, Duration::ZERO)?.code();
        wrong.extend(judge(runs, one, *number, code, &before)?);
    }
    wrong.extend(runs.foreign.missing());
    let kept = kept(runs)?;
    wrong.extend((kept != numbers.len()).then(|| format!("the history has {kept} runs of {count}")));
    say(format!(
        "  {count} runs beside each other, {cleaned} clean-ups meanwhile, {}",
        human(began.elapsed())
    ));
    Ok(wrong)
}

fn start(runs: &Runs<'_>, options: &[String], other: Option<&Utf8Path>, number: u64) -> Result<Running> {
    let out = runs.dir.join(format!("run-{number}"));
    let history = runs.history();
    let mut words = runs.words(&out, &history);
    words.extend(["--connect", runs.uri]);
    words.extend(options.iter().map(String::as_str));
    let mut command = match other {
        None => runs.product(&[], &words, &runs.log(number))?,
        Some(other) => {
            let log = File::create(runs.log(number))?;
            let mut command = cargo(other);
            command.arg("xtask").args(&words).env("TMPDIR", &runs.temporary).env("CI", "true");
            command.env(MARK, runs.name).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            command
        }
    };
    Ok(Running { child: command.spawn().context("tried to start a run")?, out })
}

/// What is wrong about one of the runs, each of which has to pass and to leave nothing.
fn judge(
    runs: &Runs<'_>,
    one: &Running,
    number: u64,
    code: Option<i32>,
    before: &Before,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    if !code.is_some_and(good) {
        let text = std::fs::read_to_string(runs.log(number)).unwrap_or_default();
        wrong.push(format!("run {number} ends with {code:?}: {}", text.lines().last().unwrap_or_default()));
    }
    let recheck = runs.done(&["recheck", one.out.as_str()], number)?;
    // Its report is the run's own: another one would be added to the history.
    let codes = Codes { run: code, report: code.unwrap_or_default(), recheck };
    let (verdict, complaints) = results::judge(&one.out, false, &codes)?;
    wrong.extend(complaints);
    wrong.extend((verdict != "pass").then(|| format!("run {number}: {verdict}")));
    wrong.extend(runs.clean(&runs.family(one), before, number)?);
    Ok(wrong)
}

/// How many runs the history has.
fn kept(runs: &Runs<'_>) -> Result<usize> {
    let history = runs.history();
    let log = runs.dir.join("history.jsonl");
    let words = ["history", "--history", history.as_str(), "export"];
    let mut command = runs.product(&[], &words, &log)?;
    let mut child = command.stderr(Stdio::null()).spawn().context("tried to start xtask")?;
    ended(&mut child, DONE_WITHIN)?;
    Ok(std::fs::read_to_string(&log)?.lines().filter(|line| line.starts_with('{')).count())
}
