//! Running other programs quietly with a spinner, and waiting with a bound.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::infrastructure;
use crate::terminal::{human, say, spinner};

/// How many of its last lines are repeated when a program fails.
const TAIL: usize = 15;
/// A program that ends sooner gets no line of its own.
const NOTICEABLE: Duration = Duration::from_secs(1);
/// How long a failed program's last lines are waited for.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The last lines that a program printed.
#[derive(Clone)]
pub struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    length: usize,
}

impl Tail {
    /// Keeps at most `length` lines.
    pub fn new(length: usize) -> Self {
        Self { lines: Arc::default(), length }
    }

    /// Adds a line and drops the oldest one beyond the length.
    pub fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        if lines.len() > self.length {
            lines.pop_front();
        }
    }

    /// The lines, indented.
    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  | {line}\n")).collect()
    }

    /// Reads a stream in a thread of its own. The receiver is disconnected at the end of the
    /// stream.
    pub fn follow(&self, stream: impl Read + Send + 'static, bar: ProgressBar) -> Receiver<()> {
        let tail = self.clone();
        let (open, ended) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                bar.set_message(line.clone());
                tail.push(line);
            }
            drop(open);
        });
        ended
    }
}

/// Runs a program behind a spinner. Repeats its last lines if it fails.
pub fn quietly(what: &str, command: &mut Command) -> Result<()> {
    let started = Instant::now();
    let bar = spinner(what);
    if bar.is_hidden() {
        say(format!("  {what} …"));
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("tried to start {:?}", command.get_program()))?;
    let tail = Tail::new(TAIL);
    let errors = child.stderr.take().map(|stream| tail.follow(stream, bar.clone()));
    let output = child.stdout.take().map(|stream| tail.follow(stream, bar.clone()));
    let status = child.wait()?;
    bar.finish_and_clear();
    if !status.success() {
        // The wait is bounded: a daemon that a package's script started may keep the pipe open for
        // ever.
        for ended in [errors, output].into_iter().flatten() {
            // Either outcome of the wait is fine: what has arrived is shown.
            let _ = ended.recv_timeout(LAST_LINES);
        }
        let lines = tail.text();
        return Err(infrastructure(format!(
            "Tried to {what} and it failed ({status}):\n{}",
            lines.trim_end()
        )));
    }
    if started.elapsed() > NOTICEABLE {
        say(format!("  {what} … done in {}", human(started.elapsed())));
    }
    Ok(())
}

/// Waits for a child, but no longer than the bound. Returns nothing if the child still runs; it is
/// not killed.
pub fn wait_bounded(child: &mut Child, bound: Duration) -> Result<Option<ExitStatus>> {
    // One whose end was noticed before has no process any more.
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let deadline = Instant::now() + bound;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&ended, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(child.try_wait()?),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Polls a condition until it holds, but no longer than the bound. For states that no event
/// announces.
pub fn holds_within(bound: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + bound;
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        // A poll of nothing is a pause. A signal that cuts it short only makes the next look
        // earlier.
        let _ = poll(&mut [], Some(&pause));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_what_the_program_printed() {
        let mut command = Command::new("sh");
        let error = quietly("greet", command.args(["-c", "echo hello; exit 4"])).expect_err("it failed");
        assert_eq!(error.to_string(), "Tried to greet and it failed (exit status: 4):\n  | hello");
    }

    #[test]
    fn a_tail_keeps_the_last_lines() {
        let tail = Tail::new(2);
        ["one", "two", "three"].into_iter().for_each(|line| tail.push(line.into()));
        assert_eq!(tail.text(), "  | two\n  | three\n");
    }

    #[test]
    fn waiting_is_bounded() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("sleep");
        assert!(wait_bounded(&mut child, Duration::from_millis(20)).expect("a wait").is_none());
        child.kill().expect("it still runs");
        assert!(wait_bounded(&mut child, Duration::from_secs(5)).expect("a wait").is_some());
        assert!(wait_bounded(&mut child, Duration::ZERO).expect("a second wait").is_some());
    }
}
