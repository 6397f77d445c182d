//! The command `test`: everything that must hold before a change is merged.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::cli::{ConformanceArgs, Consent};
use crate::error::{INTERRUPTED, infrastructure};
use crate::run::{cargo, human, quietly, say};
use crate::{conformance, setup};

/// The scenario of the short real cycle.
const CYCLE: &str = "vmware-azure";

/// Parts of the toolchain that a minimal installation lacks: cargo's word, rustup's name.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

/// A step that runs cargo.
struct Check {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Whether it says itself how many tests it ran; else it counts as one.
    counts: bool,
}

/// What holds without a run. The integration tests of `conformance` are its tiers: they need a run's directory.
const CHECKS: &[Check] = &[
    Check { name: "formatting", arguments: &["fmt", "--all", "--check"], counts: false },
    Check {
        name: "lints",
        arguments: &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
        counts: false,
    },
    Check {
        name: "unit and property tests",
        arguments: &[
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--status-level",
            "fail",
            "--final-status-level",
            "fail",
            "-E",
            "not (package(conformance) & kind(test))",
        ],
        counts: true,
    },
];

/// What passed and what did not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn one(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed) }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs all checks, even after one failed, and gives the exit code.
pub fn command(root: &Utf8Path, consent: &Consent) -> Result<u8> {
    setup::ensure(root, consent.yes)?;
    COMPONENTS.iter().try_for_each(|(word, component)| have_component(root, word, component))?;
    let mut total = Tally::default();
    for check in CHECKS {
        total.add(timed(check.name, || check.run(root))?);
    }
    let mut code = 0;
    let cycle = timed("one real cycle", || {
        let result = conformance::command(root, &ConformanceArgs::only(CYCLE, consent.clone()));
        code = result.unwrap_or_else(|error| {
            say(format!("{error:#}"));
            crate::error::code_of(&error)
        });
        Ok(Tally::one(code == 0))
    })?;
    let code = exit_code(total, code);
    total.add(cycle);
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(code)
}

/// A failed check is a failure; without one the cycle's own verdict stands.
fn exit_code(checks: Tally, cycle: u8) -> u8 {
    if cycle != INTERRUPTED && checks.failed > 0 { 1 } else { cycle }
}

fn timed(name: &str, step: impl FnOnce() -> Result<Tally>) -> Result<Tally> {
    say(format!("→ {name}"));
    let started = Instant::now();
    let tally = step()?;
    let mark = if tally.failed == 0 { "✓" } else { "✗" };
    say(format!(
        "{mark} {name}: {} passed, {} failed ({})",
        tally.passed,
        tally.failed,
        human(started.elapsed())
    ));
    Ok(tally)
}

impl Check {
    fn run(&self, root: &Utf8Path) -> Result<Tally> {
        let mut command = cargo(root);
        command.args(self.arguments).stdin(Stdio::null());
        if !self.counts {
            return Ok(Tally::one(command.status()?.success()));
        }
        let (lines, success) = shown(&mut command)?;
        let counted = lines.iter().rev().find_map(|line| summary(line));
        // Without its summary, or failed with nothing counted as such: still a failure.
        Ok(counted.filter(|tally| success || tally.failed > 0).unwrap_or(Tally::one(false)))
    }
}

/// Runs a program with its standard error shown and kept.
fn shown(command: &mut Command) -> Result<(Vec<String>, bool)> {
    let mut child = command.stderr(Stdio::piped()).spawn().context("tried to start cargo")?;
    let stream = child.stderr.take().context("cargo has no output")?;
    let tell = |line: String| {
        eprintln!("{line}");
        line
    };
    let lines = BufReader::new(stream).lines().map_while(Result::ok).map(tell).collect();
    Ok((lines, child.wait()?.success()))
}

/// `Summary [ 1.2s] 57 tests run: 56 passed (1 slow), 1 failed, 2 skipped`
fn summary(line: &str) -> Option<Tally> {
    let (_, counts) = line.trim().strip_prefix("Summary [")?.split_once(']')?;
    let (run, results) = counts.split_once(" run: ")?;
    let first_number = |text: &str| text.trim().split([' ', '/']).next()?.parse::<u64>().ok();
    let run = first_number(run)?;
    let passed = results.split(',').find(|part| part.contains(" passed")).and_then(first_number).unwrap_or(0);
    Some(Tally { passed, failed: run.checked_sub(passed)? })
}

/// Adds a part of the toolchain if it is missing.
fn have_component(root: &Utf8Path, word: &str, component: &str) -> Result<()> {
    let asked = cargo(root).args([word, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if asked.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", component]).current_dir(root);
    quietly(&format!("add {component} to the toolchain"), &mut rustup)
        .map_err(|error| infrastructure(format!("`cargo {word}` is missing: install {component}. {error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_nextests_own() {
        let cases = [
            ("     Summary [   0.005s] 12 tests run: 12 passed, 0 skipped", Some((12, 0))),
            (
                "     Summary [  61.2s] 57 tests run: 54 passed (1 slow), 2 failed, 1 timed out, 2 skipped",
                Some((54, 3)),
            ),
            ("     Summary [   0.1s] 1 test run: 0 passed, 1 failed, 0 skipped", Some((0, 1))),
            ("     Summary [   0.1s] 3/9 tests run: 2 passed, 1 failed, 0 skipped", Some((2, 1))),
            ("    Starting 12 tests across 3 binaries", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(summary(line).map(|tally| (tally.passed, tally.failed)), wanted, "{line}");
        }
    }

    #[test]
    fn a_failed_check_outweighs_the_cycle() {
        assert_eq!(exit_code(Tally { passed: 3, failed: 0 }, 0), 0);
        assert_eq!(exit_code(Tally { passed: 3, failed: 0 }, 3), 3);
        assert_eq!(exit_code(Tally { passed: 3, failed: 1 }, 0), 1);
        assert_eq!(exit_code(Tally { passed: 3, failed: 1 }, INTERRUPTED), INTERRUPTED);
    }
}
