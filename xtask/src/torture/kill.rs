//! One run that is killed, and what is found afterwards.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::Signal;

use super::chance::Chance;
use super::foreign::Foreign;
use super::processes::{Family, Kind, MARK, Process};
use super::remains::{self, Before};
use super::results::{self, Codes};
use crate::error::infrastructure;
use crate::hold::held;
use crate::process::wait_bounded;

/// The time in which all processes of a killed run are gone: a scenario has 45 s to take its guests
/// down, and is killed then.
const GONE_WITHIN: Duration = Duration::from_secs(120);
/// The time in which a command ends that nobody kills.
const DONE_WITHIN: Duration = Duration::from_secs(1200);

/// What all runs of a campaign share.
pub struct Campaign<'a> {
    /// The workspace.
    pub root: &'a Utf8Path,
    /// The campaign's directory. Its path is short, because sockets lie in it.
    pub dir: &'a Utf8Path,
    /// The name of the campaign, which marks its processes.
    pub name: &'a str,
    /// libvirt's URI.
    pub uri: &'a str,
    /// Options of every run.
    pub options: Vec<String>,
    /// What must survive.
    pub foreign: &'a Foreign,
    /// Which processes are killed.
    pub victims: Vec<Kind>,
    /// The latest moment of a kill.
    pub longest: Duration,
}

/// A command of the product, in the campaign's own directory of temporary files.
fn product(campaign: &Campaign<'_>, words: &[&str], log: &Utf8Path) -> Result<Command> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = held("/proc/self/exe");
    command
        .args(words)
        .current_dir(campaign.root)
        .env("TMPDIR", campaign.temporary())
        .env("CI", "true")
        .env(MARK, campaign.name)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// A run that is under way.
struct Running {
    child: Child,
    out: Utf8PathBuf,
}

/// What a kill did and left.
pub struct Killed {
    /// Who was killed, when, and where the run was; none if the run had ended before.
    pub victim: Option<Kind>,
    /// One line for people.
    pub line: String,
    /// What is wrong; empty if nothing is.
    pub wrong: Vec<String>,
}

impl Campaign<'_> {
    /// The campaign's directory of temporary files.
    pub fn temporary(&self) -> Utf8PathBuf {
        self.dir.join("t")
    }

    fn family<'a>(&'a self, running: &'a Running) -> Family<'a> {
        let root = i32::try_from(running.child.id()).unwrap_or_default();
        Family { mark: self.name, out: &running.out, root }
    }

    fn start(&self, number: u64) -> Result<Running> {
        let out = self.dir.join(format!("run-{number}"));
        let history = self.dir.join("history.sqlite");
        let mut words = vec!["conformance", "--out", out.as_str(), "--history", history.as_str()];
        words.extend(["--connect", self.uri, "--yes"]);
        words.extend(self.options.iter().map(String::as_str));
        let child = product(self, &words, &self.log(number))?.spawn().context("tried to start a run")?;
        Ok(Running { child, out })
    }

    fn log(&self, number: u64) -> Utf8PathBuf {
        self.dir.join(format!("run-{number}.log"))
    }

    /// Runs a command of the product to its end. Returns its exit code.
    fn done(&self, words: &[&str], number: u64) -> Result<i32> {
        let mut child = product(self, words, &self.log(number))?.spawn().context("tried to start xtask")?;
        ended(&mut child, DONE_WITHIN)?.code().context("a signal ended a command of xtask")
    }

    /// A run that nobody kills. Returns its exit code.
    pub fn undisturbed(&self, number: u64) -> Result<i32> {
        let mut running = self.start(number)?;
        ended(&mut running.child, DONE_WITHIN)?.code().context("a signal ended the run")
    }

    /// Starts a run, kills one of its processes at a moment that is drawn, and looks at what is
    /// left. A run that ends before is no kill.
    pub fn kill(&self, number: u64, chance: &mut Chance) -> Result<Killed> {
        let before = Before::now();
        let mut running = self.start(number)?;
        let began = Instant::now();
        let Some((kind, process)) = self.victim(&running, chance)? else {
            ended(&mut running.child, DONE_WITHIN)?;
            return Ok(Killed { victim: None, line: "the run ended before".to_owned(), wrong: Vec::new() });
        };
        let place = place(&running.out);
        let hit = process.signal(Signal::KILL);
        let at = began.elapsed().as_secs_f64();
        let code = ended(&mut running.child, GONE_WITHIN + DONE_WITHIN)?.code();
        let mut wrong = Vec::new();
        let family = self.family(&running);
        for orphan in family.ends_within(GONE_WITHIN) {
            wrong.push(format!("an orphan goes on: {} {}", orphan.pid, orphan.words.join(" ")));
            orphan.signal(Signal::KILL);
        }
        let cleaned = self.done(&["clean", "--connect", self.uri, "--yes"], number)?;
        if cleaned != 0 {
            wrong.push(format!("clean ends with {cleaned}"));
        }
        wrong.extend(remains::of(&family, self.uri, &self.temporary(), self.foreign, &before));
        wrong.extend(self.foreign.missing());
        let (verdict, complaints) = self.judge(number, &running.out, kind, code)?;
        wrong.extend(complaints);
        let code = code.map_or("killed".to_owned(), |code| format!("exit {code}"));
        let line = format!("{} after {at:.1} s, {place}; run: {code}; results: {verdict}", kind.name());
        Ok(Killed { victim: hit.then_some(kind), line, wrong })
    }

    /// Chooses whom to kill and waits until its moment has come.
    fn victim(&self, running: &Running, chance: &mut Chance) -> Result<Option<(Kind, Process)>> {
        let family = self.family(running);
        let began = Instant::now();
        let drawn = chance.pick(&self.victims).context("no process to kill is named")?;
        if drawn != Kind::Xtask {
            family.awaited(drawn, DONE_WITHIN)?;
        }
        let left = self.longest.saturating_sub(began.elapsed()).max(self.longest / 10);
        let wait = chance.within(left);
        let Some(root) = Process::find(family.root) else { return Ok(None) };
        if root.ends_within(wait) {
            return Ok(None);
        }
        // What was drawn may have ended meanwhile, or does not exist in this run.
        let mut order = vec![drawn];
        order.extend(self.victims.iter().filter(|kind| **kind != drawn));
        for kind in order {
            let found = family.of(kind);
            let indices: Vec<usize> = (0..found.len()).collect();
            if let Some(process) = chance.pick(&indices).and_then(|index| found.get(index)) {
                return Ok(Some((kind, process.clone())));
            }
        }
        Ok(None)
    }

    fn judge(
        &self,
        number: u64,
        out: &Utf8Path,
        victim: Kind,
        run: Option<i32>,
    ) -> Result<(String, Vec<String>)> {
        if !results::began(out) {
            let wrong = run.filter(|code| *code == 0).map(|_| "a run that did not begin ends with 0");
            return Ok(("not begun".to_owned(), wrong.into_iter().map(String::from).collect()));
        }
        let history = self.dir.join("history.sqlite");
        let report = self.done(&["report", out.as_str(), "--history", history.as_str()], number)?;
        let recheck = self.done(&["recheck", out.as_str()], number)?;
        results::judge(out, victim, &Codes { run, report, recheck })
    }
}

fn ended(child: &mut Child, bound: Duration) -> Result<ExitStatus> {
    let ended = wait_bounded(child, bound)?;
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
    }
    ended.ok_or_else(|| infrastructure(format!("A command of xtask did not end within {bound:?}.")))
}

/// Where a run is, by the last line of its progress.
fn place(out: &Utf8Path) -> String {
    let text = std::fs::read_to_string(out.join("progress.jsonl")).unwrap_or_default();
    let line: Option<serde_json::Value> =
        text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let Some(line) = line else { return "before the first step".to_owned() };
    let part = |name: &str| line[name].as_str().unwrap_or_default();
    format!("in {} {} {}", part("scenario"), part("edge"), part("step")).replace("  ", " ")
}
