//! Runs one tier under nextest: its output goes to a file, progress to the terminal, signals to the
//! tests.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::environment::Variable;
use super::progress::ProgressView;
use crate::cargo::{SELECTION, cargo};

/// How often the progress view is refreshed.
const TICK: Duration = Duration::from_millis(200);
/// Time for tests to take their guests down after an interrupt. nextest's own grace is shorter, see
/// `.config/nextest.toml`.
const GRACE: Duration = Duration::from_secs(60);
/// Time to end after the second interrupt, and after the kill that follows.
const LAST_GRACE: Duration = Duration::from_secs(10);
/// The profile of `.config/nextest.toml` for tests that run many cycles.
const MANY_CYCLES: &str = "cycles";
/// nextest's exit codes for a run that took place: all tests passed, some failed.
const RAN: [i32; 2] = [0, 100];

/// How a run under nextest ended.
pub struct Outcome {
    /// Whether all tests passed.
    pub passed: bool,
    /// Whether nextest ran tests at all.
    pub ran: bool,
    /// Whether a person interrupted it.
    pub interrupted: bool,
}

enum Event {
    Interrupt,
    Ended(ExitStatus),
}

/// One call of nextest.
pub struct TierRun<'a> {
    /// The workspace.
    pub root: &'a Utf8Path,
    /// The run's directory.
    pub out: &'a Utf8Path,
    /// The name of the test binary.
    pub tier: &'a str,
    /// The nextest expression that selects its tests.
    pub expression: &'a str,
    /// How many tests run at a time; nextest decides by default.
    pub jobs: Option<u32>,
    /// How many cycles each test runs.
    pub cycles: u32,
    /// Variables to set or to clear.
    pub environment: &'a [Variable],
}

/// The file that holds everything that nextest and the tests print.
pub fn log_path(out: &Utf8Path) -> Utf8PathBuf {
    out.join("nextest.log")
}

impl TierRun<'_> {
    fn command(&self) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(log_path(self.out))?;
        let mut command = cargo(self.root);
        command
            .args(["nextest", "run"])
            .args(SELECTION)
            .args(["--test", self.tier])
            .args(["--no-fail-fast", "--retries", "0", "--color", "never", "-E", self.expression])
            .args((self.cycles > 1).then(|| format!("--profile={MANY_CYCLES}")))
            .args(self.jobs.map(|jobs| format!("--test-threads={jobs}")))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // In a process group of its own a terminal's Ctrl-C reaches the tests only once,
            // through this program. nextest kills its tests at the second one.
            .process_group(0);
        for (name, value) in self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Ok(command)
    }

    /// Runs the tests until they end, or until an interrupt has ended them.
    pub fn run(&self, view: &mut ProgressView) -> Result<Outcome> {
        let (sender, receiver) = mpsc::channel();
        watch_signals(sender.clone())?;
        let child = self.command()?.spawn().context("tried to start cargo nextest")?;
        let group = Pid::from_child(&child);
        watch_child(child, sender);
        supervise(group, &receiver, view)
    }
}

fn supervise(group: Pid, events: &Receiver<Event>, view: &mut ProgressView) -> Result<Outcome> {
    let mut interrupts = 0;
    let mut deadline: Option<Instant> = None;
    loop {
        match events.recv_timeout(TICK) {
            Ok(Event::Ended(status)) => return Ok(outcome(status, interrupts > 0)),
            Err(RecvTimeoutError::Timeout) if deadline.is_none_or(|at| Instant::now() < at) => view.refresh(),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("lost sight of cargo nextest"),
            // An interrupt, or the grace after an interrupt is over.
            Ok(Event::Interrupt) | Err(RecvTimeoutError::Timeout) => {
                deadline = Some(Instant::now() + request_end(group, interrupts, view));
                interrupts += 1;
            }
        }
    }
}

/// Interrupts the tests, then interrupts them again, then kills them. Returns how long to wait for
/// the effect.
fn request_end(group: Pid, interrupts: u32, view: &ProgressView) -> Duration {
    let (signal, line, grace) = match interrupts {
        0 => (Signal::INT, "interrupted: taking the guests down, then writing the report", GRACE),
        1 => (Signal::INT, "interrupted again: nextest kills the tests", LAST_GRACE),
        _ => (Signal::KILL, "the tests still run: killing them", LAST_GRACE),
    };
    view.print(line);
    // Fails only if the group has ended meanwhile. Its end is then the next event.
    let _ = kill_process_group(group, signal);
    grace
}

fn outcome(status: ExitStatus, interrupted: bool) -> Outcome {
    let ran = status.code().is_some_and(|code| RAN.contains(&code));
    Outcome { passed: status.success(), ran, interrupted }
}

/// Sends an event at the child's end, from a thread of its own.
fn watch_child(mut child: Child, sender: Sender<Event>) {
    std::thread::spawn(move || {
        if let Ok(status) = child.wait() {
            let _ = sender.send(Event::Ended(status));
        }
    });
}

/// Sends an event at each Ctrl-C, SIGTERM and SIGHUP, from a thread that lasts as long as this
/// process.
fn watch_signals(sender: Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("tried to watch for signals")?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(Event::Interrupt).is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// The names of the tests that an expression selects. Fails if nextest cannot parse the expression.
pub fn names(root: &Utf8Path, tier: &str, expression: &str) -> Result<Vec<String>> {
    let output = cargo(root)
        .args(["nextest", "list"])
        .args(SELECTION)
        .args(["--test", tier, "--message-format", "json", "-E", expression])
        .stdin(Stdio::null())
        .output()
        .context("tried to list tests with cargo nextest")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(crate::error::usage(format!("nextest cannot parse the filter:\n{}", message.trim())));
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

/// The last lines of a log, indented. Empty lines are left out.
pub fn last_lines(path: &Utf8Path, count: usize) -> String {
    let text =
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("  | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::remaining::Remaining;
    use super::*;

    #[test]
    fn only_tests_that_match_the_filter_are_expected() {
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
        // The traps of the script are set once it prints its first line.
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready)
            .expect("it prints a line or ends");
        let group = Pid::from_child(&child);
        let (sender, receiver) = mpsc::channel();
        for _ in 0..interrupts {
            sender.send(Event::Interrupt).expect("the receiver is open");
        }
        watch_child(child, sender);
        supervise(group, &receiver, &mut ProgressView::new(Utf8Path::new("/nowhere"), Remaining::default()))
            .expect("an outcome")
    }

    #[test]
    fn passed_failed_and_broken_runs_are_told_apart() {
        let passed = supervised("exit 0;", 0);
        assert!(passed.passed && passed.ran && !passed.interrupted);
        let failed = supervised("exit 100;", 0);
        assert!(!failed.passed && failed.ran);
        let broken = supervised("exit 101;", 0);
        assert!(!broken.passed && !broken.ran);
    }

    #[test]
    fn an_interrupt_is_forwarded_and_repeated_until_the_tests_end() {
        let polite = supervised("trap 'exit 100' INT;", 1);
        assert!(polite.interrupted && polite.ran && !polite.passed);
        let stubborn = supervised("trap '' INT;", 3);
        assert!(stubborn.interrupted && !stubborn.ran);
    }

    #[test]
    fn the_last_lines_of_a_log_are_shown() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = Utf8PathBuf::try_from(dir.path().join("log")).expect("a UTF-8 path");
        std::fs::write(&path, "one\n\ntwo\nthree\n").expect("written");
        assert_eq!(last_lines(&path, 2), "  | two\n  | three\n");
        assert_eq!(last_lines(Utf8Path::new("/nowhere"), 2), "");
    }
}
