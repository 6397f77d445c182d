//! Mutants that cargo-mutants makes of the built-in core's source.
//!
//! Each changes one expression. It is applied to a clone of the last commit, built, and judged by
//! the simulated tier alone: cargo-mutants itself would run the mutated crate's own tests, which
//! say nothing about the suite.

use std::fmt;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use super::equivalent::{self, Equivalent};
use crate::cargo::cargo;
use crate::error::infrastructure;
use crate::process::wait_bounded;
use crate::terminal::say;

/// The crate that is mutated.
const PACKAGE: &str = "replication";
/// What judges a mutant.
const JUDGE: [&str; 6] = ["test", "--quiet", "-p", "conformance", "--test", "sim"];
/// A run of the simulated tier takes a fraction of this; a mutant that makes it wait longer hangs.
const RUN_WITHIN: Duration = Duration::from_secs(150);
/// Share of viable mutants that the suite has to catch, in percent.
const WANTED_PERCENT: usize = 85;

/// A mutant as cargo-mutants lists it.
#[derive(Clone, Debug, Deserialize)]
struct Mutant {
    name: String,
    file: Utf8PathBuf,
    diff: String,
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The simulated tier rejected it.
    Caught,
    /// The simulated tier came to no end.
    Hung,
    /// The simulated tier accepted it, and the list says why that is right.
    Equivalent,
    /// The simulated tier accepted it.
    Missed,
    /// It does not compile.
    Unviable,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caught => "caught",
            Self::Hung => "hung",
            Self::Equivalent => "equivalent",
            Self::Missed => "MISSED",
            Self::Unviable => "unviable",
        })
    }
}

/// How many mutants met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Score {
    caught: usize,
    hung: usize,
    equivalent: usize,
    missed: usize,
    unviable: usize,
}

impl Score {
    fn count(&mut self, fate: Fate) {
        *match fate {
            Fate::Caught => &mut self.caught,
            Fate::Hung => &mut self.hung,
            Fate::Equivalent => &mut self.equivalent,
            Fate::Missed => &mut self.missed,
            Fate::Unviable => &mut self.unviable,
        } += 1;
    }

    /// Mutants that compile and are not equivalent to the original.
    fn viable(&self) -> usize {
        self.caught + self.hung + self.missed
    }

    /// Percent of the viable mutants that were caught.
    fn percent(&self) -> usize {
        (self.caught * 100).checked_div(self.viable()).unwrap_or(0)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} viable mutants caught ({} %, wanted {WANTED_PERCENT} %); {} hung, {} missed; \
             {} equivalent, {} do not compile",
            self.caught,
            self.viable(),
            self.percent(),
            self.hung,
            self.missed,
            self.equivalent,
            self.unviable
        )
    }
}

/// Judges a random sample of `sample` mutants, chosen by `seed`. Returns 0 if enough were caught, 1
/// otherwise.
///
/// # Errors
/// git or cargo-mutants fail, or the unchanged core does not pass.
pub fn judge_sample(root: &Utf8Path, sample: usize, seed: u64) -> Result<u8> {
    let equivalent = Equivalent::load(root)?;
    let clone = Clone::make(root)?;
    let mutants = choose(clone.list()?, sample, seed);
    say(format!("{} mutants by seed {seed}, judged by the simulated tier alone", mutants.len()));
    if clone.judge(&equivalent, None)? != Fate::Missed {
        return Err(infrastructure(
            "The simulated tier rejects the unchanged core, so it cannot judge mutants: run `cargo xtask \
             conformance --tier sim` first.",
        ));
    }
    let mut score = Score::default();
    for mutant in &mutants {
        let fate = clone.judge(&equivalent, Some(mutant))?;
        score.count(fate);
        println!("{fate} {}", mutant.name);
    }
    println!("{score}");
    if score.missed > 0 {
        println!(
            "Give each missed mutant a check that catches it, or list it in {} with the reason.",
            equivalent::FILE
        );
    }
    Ok(u8::from(score.viable() == 0 || score.percent() < WANTED_PERCENT))
}

/// `sample` of `all`, chosen by `seed`, in the order of the source.
fn choose(all: Vec<Mutant>, sample: usize, seed: u64) -> Vec<Mutant> {
    let mut keyed: Vec<_> =
        all.into_iter().enumerate().map(|(at, m)| (mix(seed, at as u64), at, m)).collect();
    keyed.sort_by_key(|(key, at, _)| (*key, *at));
    keyed.truncate(sample);
    keyed.sort_by_key(|(_, at, _)| *at);
    keyed.into_iter().map(|(_, _, mutant)| mutant).collect()
}

/// A number that looks random and follows from `seed` and `at` (SplitMix64).
fn mix(seed: u64, at: u64) -> u64 {
    let mut z = seed.wrapping_add(at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A clone of the last commit that may be changed; its build is kept for the next time.
struct Clone {
    tree: Utf8PathBuf,
    target: Utf8PathBuf,
}

impl Clone {
    fn make(root: &Utf8Path) -> Result<Self> {
        let base = root.join("target/generated-mutants");
        let clone = Self { tree: base.join("tree"), target: base.join("target") };
        if clone.tree.exists() {
            std::fs::remove_dir_all(&clone.tree).with_context(|| format!("remove {}", clone.tree))?;
        }
        let mut git = Command::new("git");
        git.args(["clone", "--quiet", "--local", root.as_str(), clone.tree.as_str()]);
        succeed("clone the last commit", &mut git)?;
        Ok(clone)
    }

    fn list(&self) -> Result<Vec<Mutant>> {
        let mut command = cargo(&self.tree);
        command.args(["mutants", "--list", "--json", "--diff", "-p", PACKAGE]);
        let output = command.output().context("start cargo")?;
        if !output.status.success() {
            return Err(infrastructure(format!(
                "Tried to list mutants and `cargo mutants` failed ({}): is it installed? `cargo install --locked \
                 cargo-mutants` does it.",
                output.status
            )));
        }
        serde_json::from_slice(&output.stdout).context("read cargo-mutants' list")
    }

    /// Applies a mutant, builds and judges; without one, judges the original.
    fn judge(&self, equivalent: &Equivalent, mutant: Option<&Mutant>) -> Result<Fate> {
        succeed(
            "reset the clone",
            Command::new("git").current_dir(&self.tree).args(["checkout", "--quiet", "."]),
        )?;
        if let Some(mutant) = mutant {
            self.apply(mutant)?;
        }
        let built = self.cargo().arg("--no-run").status().context("start cargo")?;
        if !built.success() {
            return Ok(Fate::Unviable);
        }
        Ok(match self.run()? {
            None => Fate::Hung,
            Some(status) if !status.success() => Fate::Caught,
            Some(_) => match mutant.and_then(|mutant| equivalent.reason(&mutant.name)) {
                Some(_) => Fate::Equivalent,
                None => Fate::Missed,
            },
        })
    }

    fn cargo(&self) -> Command {
        let mut command = cargo(&self.tree);
        command.args(JUDGE).env("CARGO_TARGET_DIR", &self.target);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn apply(&self, mutant: &Mutant) -> Result<()> {
        // cargo-mutants names the change, not the file, in the second line of its diff.
        let hunks = mutant.diff.lines().skip(2);
        let mut patch = format!("--- a/{file}\n+++ b/{file}\n", file = mutant.file);
        hunks.for_each(|line| {
            patch.push_str(line);
            patch.push('\n');
        });
        let mut git = Command::new("git");
        git.current_dir(&self.tree).args(["apply", "--whitespace=nowarn", "-"]).stdin(Stdio::piped());
        let mut child = git.spawn().context("start git")?;
        let mut input = child.stdin.take().context("git has no input")?;
        input.write_all(patch.as_bytes())?;
        drop(input);
        anyhow::ensure!(child.wait()?.success(), "git cannot apply {}", mutant.name);
        Ok(())
    }

    /// Runs the simulated tier; `None` if it came to no end.
    fn run(&self) -> Result<Option<ExitStatus>> {
        let mut child = self.cargo().process_group(0).spawn().context("start cargo")?;
        if let Some(status) = wait_bounded(&mut child, RUN_WITHIN)? {
            return Ok(Some(status));
        }
        // cargo started the test in its own group: both end.
        kill_process_group(Pid::from_child(&child), Signal::KILL)?;
        child.wait()?;
        Ok(None)
    }
}

fn succeed(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{what}: start {:?}", command.get_program()))?;
    anyhow::ensure!(status.success(), "tried to {what} and it failed ({status})");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants(count: usize) -> Vec<Mutant> {
        let mutant = |at| Mutant { name: format!("m{at}"), file: "a.rs".into(), diff: String::new() };
        (0..count).map(mutant).collect()
    }

    fn names(mutants: Vec<Mutant>) -> Vec<String> {
        mutants.into_iter().map(|mutant| mutant.name).collect()
    }

    #[test]
    fn a_seed_chooses_the_same_sample_again_and_another_seed_another() {
        let sample = |seed| names(choose(mutants(100), 10, seed));
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
        assert_eq!(sample(3).len(), 10);
    }

    #[test]
    fn a_sample_larger_than_the_list_is_the_list() {
        assert_eq!(names(choose(mutants(3), 10, 1)), ["m0", "m1", "m2"]);
    }

    #[test]
    fn a_hung_mutant_counts_as_viable_and_not_as_caught() {
        let mut score = Score::default();
        for fate in [Fate::Caught, Fate::Caught, Fate::Caught, Fate::Hung, Fate::Equivalent, Fate::Unviable] {
            score.count(fate);
        }
        assert_eq!((score.viable(), score.percent()), (4, 75));
    }
}
