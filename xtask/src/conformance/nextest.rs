//! Runs one tier under nextest: output to a file, progress to the person, signals to the tests.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::progress::Live;
use crate::run::cargo;

/// How often the view is renewed.
const TICK: Duration = Duration::from_millis(200);
/// Time for tests to take their guests down after an interrupt. nextest's own grace is shorter: see `.config/nextest.toml`.
const GRACE: Duration = Duration::from_secs(60);
/// Time to end after being told for the second time.
const LAST_GRACE: Duration = Duration::from_secs(10);
/// nextest's exit codes that are about tests: all passed, some failed.
const ABOUT_TESTS: [i32; 2] = [0, 100];

/// How a run under nextest ended.
pub struct Outcome {
    /// Whether all tests passed.
    pub passed: bool,
    /// Whether nextest came to run tests at all.
    pub ran: bool,
    /// Whether somebody interrupted it.
    pub interrupted: bool,
}

enum Happened {
    Interrupt,
    Ended(ExitStatus),
}

/// What is run.
pub struct Order<'a> {
    /// The workspace.
    pub root: &'a Utf8Path,
    /// The run's directory.
    pub out: &'a Utf8Path,
    /// Which test binary.
    pub tier: &'a str,
    /// Which of its tests.
    pub expression: &'a str,
    /// How many at a time; nextest's own choice if not said.
    pub jobs: Option<u32>,
    /// What the tests are told.
    pub environment: &'a [(&'static str, String)],
}

/// The file with everything nextest and the tests print.
pub fn log_path(out: &Utf8Path) -> Utf8PathBuf {
    out.join("nextest.log")
}

impl Order<'_> {
    fn command(&self) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(log_path(self.out))?;
        let mut command = cargo(self.root);
        command
            .args(["nextest", "run", "-p", "conformance", "--test", self.tier])
            .args(["--no-fail-fast", "--retries", "0", "--color", "never", "-E", self.expression])
            .args(self.jobs.map(|jobs| format!("--test-threads={jobs}")))
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: a terminal's Ctrl-C then reaches the tests once, through us. Told twice, nextest kills.
            .process_group(0);
        Ok(command)
    }

    /// Runs it to its end, or to the end of an interrupt.
    pub fn run(&self, live: &mut Live) -> Result<Outcome> {
        let (sender, receiver) = mpsc::channel();
        watch_signals(sender.clone())?;
        let child = self.command()?.spawn().context("tried to start cargo nextest")?;
        let group = Pid::from_child(&child);
        watch_child(child, sender);
        supervise(group, &receiver, live)
    }
}

fn supervise(group: Pid, happened: &Receiver<Happened>, live: &mut Live) -> Result<Outcome> {
    let mut told = 0;
    let mut deadline: Option<Instant> = None;
    loop {
        match happened.recv_timeout(TICK) {
            Ok(Happened::Ended(status)) => return Ok(outcome(status, told > 0)),
            Err(RecvTimeoutError::Timeout) if deadline.is_none_or(|at| Instant::now() < at) => live.refresh(),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("lost sight of cargo nextest"),
            // Interrupted, or past the time given after an interrupt.
            Ok(Happened::Interrupt) | Err(RecvTimeoutError::Timeout) => {
                deadline = Some(Instant::now() + tell_to_end(group, told, live));
                told += 1;
            }
        }
    }
}

/// Asks, then insists, then ends it. Gives the time to wait for what was done.
fn tell_to_end(group: Pid, told: u32, live: &Live) -> Duration {
    let (signal, words, grace) = match told {
        0 => (Signal::INT, "interrupted: the guests are taken down, then comes the report", GRACE),
        1 => (Signal::INT, "interrupted again: the tests are killed", LAST_GRACE),
        _ => (Signal::KILL, "still there: killed", LAST_GRACE),
    };
    live.tell(words);
    // Fails only if it has ended meanwhile, and then its end is reported next.
    let _ = kill_process_group(group, signal);
    grace
}

fn outcome(status: ExitStatus, interrupted: bool) -> Outcome {
    let ran = status.code().is_some_and(|code| ABOUT_TESTS.contains(&code));
    Outcome { passed: status.success(), ran, interrupted }
}

/// Reports the child's end from a thread of its own.
fn watch_child(mut child: Child, sender: Sender<Happened>) {
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = sender.send(Happened::Ended(status));
        }
    });
}

/// Reports Ctrl-C and its relatives from a thread of its own, for the rest of this process.
fn watch_signals(sender: Sender<Happened>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if sender.send(Happened::Interrupt).is_err() {
                    break;
                }
            }
        });
    });
    Ok(())
}

/// The names of the tests an expression means: also shows whether the expression can be read.
pub fn names(root: &Utf8Path, tier: &str, expression: &str) -> Result<Vec<String>> {
    let output = cargo(root)
        .args([
            "nextest",
            "list",
            "-p",
            "conformance",
            "--test",
            tier,
            "--message-format",
            "json",
            "-E",
            expression,
        ])
        .stdin(Stdio::null())
        .output()
        .context("tried to list tests with cargo nextest")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(crate::error::usage(format!("nextest cannot read the filter:\n{}", words.trim())));
    }
    matching(&String::from_utf8_lossy(&output.stdout))
}

fn matching(json: &str) -> Result<Vec<String>> {
    let list: serde_json::Value = serde_json::from_str(json).context("tried to read nextest's list")?;
    let suites = list["rust-suites"].as_object().into_iter().flat_map(|suites| suites.values());
    let cases = suites.filter_map(|suite| suite["testcases"].as_object()).flatten();
    Ok(cases
        .filter(|(_, case)| case["filter-match"]["status"] == "matches")
        .map(|(name, _)| name.clone())
        .collect())
}

/// The last lines of a log, indented.
pub fn last_lines(path: &Utf8Path, count: usize) -> String {
    let text =
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("  | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_matching_tests_are_expected() {
        let json = r#"{"rust-suites":{"conformance::real":{"testcases":{
            "a":{"ignored":false,"filter-match":{"status":"matches"}},
            "b":{"ignored":false,"filter-match":{"status":"mismatch","reason":"expression"}}}}}}"#;
        assert_eq!(matching(json).expect("a list"), ["a"]);
        assert!(matching("{}").expect("an empty list").is_empty());
        assert!(matching("nonsense").is_err());
    }

    fn supervised(script: &str, interrupts: usize) -> Outcome {
        let script = format!("{script} echo ready; while :; do sleep 0.05; done");
        let mut command = Command::new("sh");
        let mut child =
            command.args(["-c", &script]).process_group(0).stdout(Stdio::piped()).spawn().expect("sh");
        // Only now its traps are set.
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready)
            .expect("it speaks or ends");
        let group = Pid::from_child(&child);
        let (sender, receiver) = mpsc::channel();
        for _ in 0..interrupts {
            sender.send(Happened::Interrupt).expect("heard");
        }
        watch_child(child, sender);
        supervise(group, &receiver, &mut Live::new(Utf8Path::new("/nowhere"))).expect("an outcome")
    }

    #[test]
    fn ends_are_told_apart() {
        let passed = supervised("exit 0;", 0);
        assert!(passed.passed && passed.ran && !passed.interrupted);
        let failed = supervised("exit 100;", 0);
        assert!(!failed.passed && failed.ran);
        let broken = supervised("exit 101;", 0);
        assert!(!broken.passed && !broken.ran);
    }

    #[test]
    fn an_interrupt_is_passed_on_and_insisted_on() {
        let polite = supervised("trap 'exit 100' INT;", 1);
        assert!(polite.interrupted && polite.ran && !polite.passed);
        let stubborn = supervised("trap '' INT;", 3);
        assert!(stubborn.interrupted && !stubborn.ran);
    }

    #[test]
    fn a_log_is_told_by_its_end() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = Utf8PathBuf::try_from(dir.path().join("log")).expect("a UTF-8 path");
        std::fs::write(&path, "one\n\ntwo\nthree\n").expect("written");
        assert_eq!(last_lines(&path, 2), "  | two\n  | three\n");
        assert_eq!(last_lines(Utf8Path::new("/nowhere"), 2), "");
    }
}
