//! Runs of the product in a campaign: started beside what is foreign, ended within a bound, and
//! looked at afterwards.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::foreign::Foreign;
use super::processes::{Family, MARK};
use super::remains::{self, Before};
use crate::error::infrastructure;
use crate::hold::held;
use crate::process::wait_bounded;

/// The time in which a command ends that nobody disturbs.
pub const DONE_WITHIN: Duration = Duration::from_secs(1200);

/// What all runs of a campaign share.
pub struct Runs<'a> {
    /// The workspace.
    pub root: &'a Utf8Path,
    /// The campaign's directory. Its path is short, because sockets lie in it.
    pub dir: &'a Utf8Path,
    /// The name of the campaign, which marks its processes.
    pub name: &'a str,
    /// libvirt's URI.
    pub uri: &'a str,
    /// The campaign's directory of temporary files.
    pub temporary: Utf8PathBuf,
    /// What must survive.
    pub foreign: &'a Foreign,
}

/// A run that is under way.
pub struct Running {
    /// The process of `xtask`.
    pub child: Child,
    /// The directory of its evidence.
    pub out: Utf8PathBuf,
}

impl Runs<'_> {
    /// The campaign's history.
    pub fn history(&self) -> Utf8PathBuf {
        self.dir.join("history.sqlite")
    }

    /// What run `number` and the commands about it print.
    pub fn log(&self, number: u64) -> Utf8PathBuf {
        self.dir.join(format!("run-{number}.log"))
    }

    /// The processes of a run.
    pub fn family<'a>(&'a self, running: &'a Running) -> Family<'a> {
        let root = i32::try_from(running.child.id()).unwrap_or_default();
        Family { mark: self.name, out: &running.out, root }
    }

    /// A command of the product, in the campaign's own directory of temporary files. `wrapper` are
    /// the words of a program that becomes the product.
    pub fn product(&self, wrapper: &[String], words: &[&str], log: &Utf8Path) -> Result<Command> {
        let log = File::options().create(true).append(true).open(log)?;
        let own = format!("/proc/{}/exe", std::process::id());
        let all: Vec<&str> =
            wrapper.iter().map(String::as_str).chain([own.as_str()]).chain(words.iter().copied()).collect();
        let (program, arguments) = all.split_first().context("no program")?;
        let mut command = held(program);
        command
            .args(arguments)
            .current_dir(self.root)
            .env("TMPDIR", &self.temporary)
            .env("CI", "true")
            .env(MARK, self.name)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    /// The words that begin a run with its evidence in `out`.
    pub fn words<'a>(&'a self, out: &'a Utf8Path, history: &'a Utf8Path) -> Vec<&'a str> {
        vec!["conformance", "--out", out.as_str(), "--history", history.as_str(), "--yes"]
    }

    /// Runs a command of the product to its end. Returns its exit code.
    pub fn done(&self, words: &[&str], number: u64) -> Result<i32> {
        let mut child =
            self.product(&[], words, &self.log(number))?.spawn().context("tried to start xtask")?;
        ended(&mut child, DONE_WITHIN)?.code().context("a signal ended a command of xtask")
    }

    /// Removes what a run left behind, and returns what is left after that.
    pub fn clean(&self, family: &Family<'_>, before: &Before, number: u64) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let cleaned = self.done(&["clean", "--connect", self.uri, "--yes"], number)?;
        if cleaned != 0 {
            wrong.push(format!("clean ends with {cleaned}"));
        }
        wrong.extend(remains::of(family, self.uri, &self.temporary, before));
        Ok(wrong)
    }

    /// What `report` and `recheck` say about a run: their exit codes.
    pub fn judged(&self, out: &Utf8Path, number: u64) -> Result<(i32, i32)> {
        let history = self.history();
        let report = self.done(&["report", out.as_str(), "--history", history.as_str()], number)?;
        Ok((report, self.done(&["recheck", out.as_str()], number)?))
    }
}

/// Waits for the end of a command of the product. One that does not end is killed.
///
/// # Errors
/// It did not end within the bound.
pub fn ended(child: &mut Child, bound: Duration) -> Result<ExitStatus> {
    let ended = wait_bounded(child, bound)?;
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
    }
    ended.ok_or_else(|| infrastructure(format!("A command of xtask did not end within {bound:?}.")))
}
