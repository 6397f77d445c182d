//! Running other programs: quietly with a spinner, bounded, or with their output shown.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::infrastructure;

/// Lines of a failed program that are repeated to the person.
const TAIL: usize = 15;
/// The same of a compiler, whose first error is the one that counts.
const LONG_TAIL: usize = 60;
/// What is over sooner is not worth a line.
const NOTICEABLE: Duration = Duration::from_secs(1);

/// Tells a person what goes on. Results go to standard output, the way there goes to standard error.
pub fn say(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// Whether somebody looks at this.
pub fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Whether this runs unattended with consent given beforehand.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// The workspace's root: cargo tells where this crate is.
pub fn workspace() -> Result<Utf8PathBuf> {
    let told = std::env::var("CARGO_MANIFEST_DIR").ok().map(Utf8PathBuf::from);
    let here = Utf8PathBuf::try_from(std::env::current_dir()?)?;
    let start = told.unwrap_or(here);
    start
        .ancestors()
        .find(|dir| dir.join("conformance/scenarios.toml").exists())
        .map(Utf8Path::to_owned)
        .ok_or_else(|| infrastructure(format!("Looked for Roundtrip's sources around {start} and found none: run `cargo xtask` inside the repository.")))
}

/// cargo, in the workspace. The variables that `cargo xtask` set for this program are not for others.
pub fn cargo(root: &Utf8Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let for_us =
            name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR");
        if for_us {
            command.env_remove(name);
        }
    }
    command
}

/// `1.2 s`, `3 min 20 s`.
pub fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=59 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A spinner on a terminal; nothing elsewhere.
pub fn spinner(what: &str) -> ProgressBar {
    let bar = if on_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// The last lines a program printed, filled by its readers.
#[derive(Clone)]
struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    length: usize,
}

impl Tail {
    fn new(length: usize) -> Self {
        Self { lines: Arc::default(), length }
    }

    fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        if lines.len() > self.length {
            lines.pop_front();
        }
    }

    fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  | {line}\n")).collect()
    }

    fn follow(&self, stream: impl Read + Send + 'static, bar: ProgressBar) {
        let tail = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                bar.set_message(line.clone());
                tail.push(line);
            }
        });
    }
}

/// Runs a program and shows only that it runs; its last lines are told if it fails.
pub fn quietly(what: &str, command: &mut Command) -> Result<()> {
    let tail = Tail::new(TAIL);
    watched(what, command, &tail, |child, bar| {
        // Not joined: a daemon started by a package's script may keep the pipe open for ever.
        child.stdout.take().into_iter().for_each(|stream| tail.follow(stream, bar.clone()));
        Ok(())
    })
}

/// Runs a compiler in the same way and gives the lines of its standard output.
pub fn quietly_read(what: &str, command: &mut Command) -> Result<Vec<String>> {
    watched(what, command, &Tail::new(LONG_TAIL), |child, _| {
        let stream = child.stdout.take().context("it has no output")?;
        Ok(BufReader::new(stream).lines().map_while(Result::ok).collect())
    })
}

fn watched<T>(
    what: &str,
    command: &mut Command,
    tail: &Tail,
    read: impl FnOnce(&mut Child, &ProgressBar) -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    let bar = spinner(what);
    if bar.is_hidden() {
        say(format!("  {what} …"));
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("tried to start {:?}", command.get_program()))?;
    child.stderr.take().into_iter().for_each(|stream| tail.follow(stream, bar.clone()));
    let result = read(&mut child, &bar);
    let status = child.wait()?;
    bar.finish_and_clear();
    if !status.success() {
        return Err(infrastructure(format!(
            "Tried to {what} and it failed ({status}):\n{}",
            tail.text().trim_end()
        )));
    }
    if started.elapsed() > NOTICEABLE {
        say(format!("  {what} … done in {}", human(started.elapsed())));
    }
    result
}

/// Waits for a child, at most so long. None if it still runs; it is not killed.
pub fn wait_bounded(child: &mut Child, bound: Duration) -> Result<Option<ExitStatus>> {
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

/// Asks again and again until something holds, at most so long. For states no event tells of.
pub fn holds_within(bound: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + bound;
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        // An empty poll: interrupted early it only asks sooner.
        let _ = poll(&mut [], Some(&pause));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(4 << 30), "4.0 GiB");
        assert_eq!(human(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(human(Duration::from_secs(200)), "3 min 20 s");
    }

    #[test]
    fn a_failure_repeats_what_the_program_said() {
        let mut command = Command::new("sh");
        let error = quietly("greet", command.args(["-c", "echo hello; exit 4"])).expect_err("it failed");
        assert!(error.to_string().starts_with("Tried to greet and it failed (exit status: 4)"), "{error}");
    }

    #[test]
    fn waiting_is_bounded() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("sleep");
        assert!(wait_bounded(&mut child, Duration::from_millis(20)).expect("a wait").is_none());
        child.kill().expect("it still runs");
        assert!(wait_bounded(&mut child, Duration::from_secs(5)).expect("a wait").is_some());
    }
}
