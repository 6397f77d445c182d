//! Calling cargo in the workspace, and showing how far a build has come.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use indicatif::ProgressBar;
use serde::Deserialize;

use crate::error::infrastructure;
use crate::hold::held;
use crate::process::Tail;
use crate::terminal::{human, on_terminal, say};

/// How many of the compiler's last lines are repeated: its first error is the one that counts.
const TAIL: usize = 60;
/// How often a build without a terminal says how far it has come.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// The workspace's root, found from the place of this crate, which cargo passes on.
pub fn workspace() -> Result<Utf8PathBuf> {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").ok().map(Utf8PathBuf::from);
    let here = Utf8PathBuf::try_from(std::env::current_dir()?)?;
    let start = manifest.unwrap_or(here);
    start
        .ancestors()
        .find(|dir| dir.join("conformance/scenarios.toml").exists())
        .map(Utf8Path::to_owned)
        .ok_or_else(|| {
            infrastructure(format!(
                "Looked for Roundtrip's sources around {start} and found none: run `cargo xtask` inside the \
                 repository."
            ))
        })
}

/// cargo, in the workspace, without the variables that `cargo xtask` received for its own crate. It
/// ends with this process.
pub fn cargo(root: &Utf8Path) -> Command {
    let mut command = held(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let ours =
            name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR");
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// The packages of every build and test run. cargo unifies features over the packages that a
/// command selects: with one selection for all commands no crate is compiled twice. Targets are
/// then selected by name.
pub const SELECTION: [&str; 1] = ["--workspace"];

/// Where `cargo install` puts programs.
pub fn install_dir() -> Option<Utf8PathBuf> {
    let home = std::env::var("CARGO_HOME").ok().map(Utf8PathBuf::from);
    let home = home.or_else(|| std::env::var("HOME").ok().map(|home| Utf8Path::new(&home).join(".cargo")));
    home.map(|home| home.join("bin"))
}

/// Runs a build with `--message-format=json-render-diagnostics`, shows its progress and returns the
/// lines of its report. On a terminal cargo draws its own progress bar.
pub fn build(what: &str, command: &mut Command) -> Result<Vec<String>> {
    let started = Instant::now();
    let attended = on_terminal();
    say(format!("  {what} …"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(if attended { Stdio::inherit() } else { Stdio::piped() });
    let mut child = command.spawn().context("tried to start cargo")?;
    let tail = Tail::new(TAIL);
    let errors = child.stderr.take().map(|stream| tail.follow(stream, ProgressBar::hidden()));
    let report = child.stdout.take().context("cargo has no output")?;
    let mut progress = (!attended).then(|| Progress::new(what));
    let lines = read_report(report, |line| {
        if let Some(progress) = &mut progress {
            progress.note(line);
        }
    });
    let status = child.wait()?;
    if status.success() {
        if started.elapsed() > REPORT_EVERY {
            say(format!("  {what} … done in {}", human(started.elapsed())));
        }
        return Ok(lines);
    }
    // The end of the stream disconnects the channel.
    errors.into_iter().for_each(|ended| while ended.recv().is_ok() {});
    let messages = if attended { "see above".to_owned() } else { format!("\n{}", tail.text().trim_end()) };
    Err(infrastructure(format!("Tried to {what} and it failed ({status}): {messages}")))
}

fn read_report(report: impl Read, mut see: impl FnMut(&str)) -> Vec<String> {
    let lines = BufReader::new(report).lines().map_while(Result::ok);
    lines.inspect(|line| see(line)).collect()
}

/// Counts the crates that a build without a terminal has compiled, and says so now and then.
struct Progress<'a> {
    what: &'a str,
    started: Instant,
    last: Instant,
    compiled: u32,
}

#[derive(Deserialize)]
struct Artifact {
    fresh: Option<bool>,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str) -> Self {
        let now = Instant::now();
        Self { what, started: now, last: now, compiled: 0 }
    }

    fn note(&mut self, line: &str) {
        if self.count(line) && self.last.elapsed() >= REPORT_EVERY {
            self.last = Instant::now();
            let time = human(self.started.elapsed());
            say(format!("  {} … {} crates compiled after {time}", self.what, self.compiled));
        }
    }

    /// Counts a line that reports a compiled crate.
    fn count(&mut self, line: &str) -> bool {
        let artifact = serde_json::from_str::<Artifact>(line).ok();
        let compiled = artifact.is_some_and(|artifact| artifact.fresh == Some(false));
        self.compiled += u32::from(compiled);
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_compiled_is_counted() {
        let mut progress = Progress::new("build it");
        for (line, counts) in [
            (r#"{"reason":"compiler-artifact","fresh":false}"#, true),
            (r#"{"reason":"compiler-artifact","fresh":true}"#, false),
            (r#"{"reason":"build-finished","success":true}"#, false),
            ("no JSON", false),
        ] {
            assert_eq!(progress.count(line), counts, "{line}");
        }
        assert_eq!(progress.compiled, 1);
    }
}
