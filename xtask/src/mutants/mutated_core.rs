//! The built-in core as a program of its own, with or without a mutation, and the suite that judges
//! it over the wire.
//!
//! Only the core is built again for a mutant, in a clone of the last commit; the suite stays as it
//! is. A mutant that hangs is killed with its process group.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use serde::Deserialize;

use super::mutant::Mutant;
use crate::cargo::{SELECTION, cargo};
use crate::error::infrastructure;
use crate::process::wait_bounded;
use crate::suite::Suite;

/// The crate that is mutated.
const PACKAGE: &str = "replication";
/// The program that contains it.
const PROGRAM: &str = "roundtrip-core";
/// How the core is built: most of the time that a mutant costs goes into compiling it.
const QUICK: [&str; 4] =
    ["--config", "profile.dev.package.replication.opt-level=0", "--config", "profile.dev.debug=false"];
/// Seed of the checks and of the first cycle, and the number of cycles of each scenario.
const JUDGE: [&str; 5] = ["first-failure", "--seed", "7", "--seeds", "4"];
/// Names the core that the suite tests.
const CORE: &str = "ROUNDTRIP_CORE";

/// What the suite says about a core.
pub enum Judgement {
    /// The core does not compile.
    NotBuilt,
    /// The suite, or one of its simulations, came to no end.
    Endless,
    /// A verdict.
    Judged {
        /// The verdict, as `results.json` names it.
        verdict: String,
        /// The first broken rule, or the first of which nothing can be said.
        rule: Option<String>,
        /// What was found.
        found: String,
        /// A finding that does not decide the verdict: advice that is not followed, or a limit
        /// that is not as documented.
        noted: Option<Noted>,
    },
}

/// A finding that does not decide a verdict.
#[derive(Deserialize)]
pub struct Noted {
    /// The rule.
    pub rule: String,
    /// What was found.
    pub found: String,
}

/// What `first-failure` prints.
#[derive(Deserialize)]
struct FirstFailure {
    verdict: String,
    rule: Option<String>,
    found: String,
    abandoned: bool,
    noted: Option<Noted>,
}

/// A clone of the last commit that may be changed, and the suite. The clone's build is kept for the
/// next time.
pub struct MutatedCore {
    tree: Utf8PathBuf,
    /// Where the core's program is put.
    target: Utf8PathBuf,
    /// Where crates are compiled: beside those of the workspace, so that what is no crate of ours
    /// is not compiled again.
    build: Utf8PathBuf,
    suite: Suite,
}

impl MutatedCore {
    /// Clones the last commit.
    ///
    /// # Errors
    /// git fails, or the suite cannot be copied.
    pub fn clone_of(root: &Utf8Path, suite: Suite) -> Result<Self> {
        let base = root.join("target/generated-mutants");
        let tree = base.join("tree");
        if tree.exists() {
            std::fs::remove_dir_all(&tree).with_context(|| format!("remove {tree}"))?;
        }
        let mut git = Command::new("git");
        git.args(["clone", "--quiet", "--local", root.as_str(), tree.as_str()]);
        succeed("clone the last commit", &mut git)?;
        // Whoever builds the suite meanwhile does not change what judges.
        let suite = suite.kept_in(&base)?;
        Ok(Self { tree, target: base.join("target"), build: root.join("target"), suite })
    }

    /// All mutants.
    ///
    /// # Errors
    /// cargo-mutants fails or is not installed.
    pub fn list(&self) -> Result<Vec<Mutant>> {
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

    /// Applies a mutant, builds the core and judges it; without one, judges the original.
    ///
    /// # Errors
    /// git or cargo cannot be started, or the mutant does not apply.
    pub fn judge(&self, mutant: Option<&Mutant>, limit: Duration) -> Result<Judgement> {
        let mut git = Command::new("git");
        git.current_dir(&self.tree).args(["checkout", "--quiet", "."]);
        succeed("reset the clone", &mut git)?;
        if let Some(mutant) = mutant {
            self.apply(mutant)?;
        }
        let mut build = cargo(&self.tree);
        build.arg("build").args(SELECTION).args(["--bin", PROGRAM]).args(QUICK);
        build.env("CARGO_TARGET_DIR", &self.target).env("CARGO_BUILD_BUILD_DIR", &self.build);
        build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match build.status().context("start cargo")?.success() {
            true => self.run(limit),
            false => Ok(Judgement::NotBuilt),
        }
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

    /// Runs the simulated tier on the core that was built.
    fn run(&self, limit: Duration) -> Result<Judgement> {
        let core = self.core();
        let mut command = self.suite.command(&JUDGE);
        command.env(CORE, core.as_str()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().context("start the suite")?;
        let mut output = child.stdout.take().context("the suite has no output")?;
        let ended = wait_bounded(&mut child, limit)?;
        if ended.is_none() {
            kill_process_group(Pid::from_child(&child), Signal::KILL)?;
            child.wait()?;
        }
        // A core that runs in a circle does not notice that its suite has ended.
        end_processes_of(&core);
        if ended.is_none() {
            return Ok(Judgement::Endless);
        }
        let mut text = String::new();
        output.read_to_string(&mut text)?;
        let found: FirstFailure = serde_json::from_str(&text)
            .with_context(|| format!("the suite said {text:?} and ended with {ended:?}"))?;
        let FirstFailure { verdict, rule, found, abandoned, noted } = found;
        Ok(match abandoned && verdict != "fail" {
            true => Judgement::Endless,
            false => Judgement::Judged { verdict, rule, found, noted },
        })
    }

    fn core(&self) -> Utf8PathBuf {
        self.target.join("debug").join(PROGRAM)
    }
}

/// Kills the process groups of all processes that run this program. Nothing else runs it: it lies
/// in a directory of this command.
fn end_processes_of(program: &Utf8Path) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        // The file that a process runs may have been replaced by the next build.
        let exe = std::fs::read_link(process.path().join("exe")).unwrap_or_default();
        if exe != program.as_std_path() {
            continue;
        }
        let id = process.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
        if let Some(group) = id.and_then(|id| getpgid(Some(id)).ok()) {
            // It may have ended at this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
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

    #[test]
    fn a_program_that_runs_in_a_circle_is_killed_with_its_group() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let program = Utf8PathBuf::try_from(dir.path().join("circle")).expect("a UTF-8 path");
        std::fs::copy("/bin/sleep", &program).expect("a program");
        let mut child = Command::new(&program).arg("600").process_group(0).spawn().expect("it starts");
        end_processes_of(&program);
        let ended = wait_bounded(&mut child, Duration::from_secs(30)).expect("a wait");
        assert!(ended.is_some_and(|status| !status.success()));
    }
}
