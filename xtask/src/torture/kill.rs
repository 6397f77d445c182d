//! One run that is killed, and what is found afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use rustix::process::Signal;

use super::chance::Chance;
use super::processes::{Family, Kind, Process};
use super::remains::Before;
use super::results::{self, Codes};
use super::runs::{DONE_WITHIN, Running, Runs, ended};
use crate::room::own_libvirt::OwnLibvirt;

/// The time in which all processes of a killed run are gone: a scenario has 45 s to take its guests
/// down, and is killed then.
const GONE_WITHIN: Duration = Duration::from_secs(120);

/// What all kills of a campaign share.
pub struct Campaign<'a> {
    /// How runs are started and looked at.
    pub runs: Runs<'a>,
    /// Options of every run.
    pub options: Vec<String>,
    /// Which processes are killed.
    pub victims: Vec<Kind>,
    /// The latest moment of a kill.
    pub longest: Duration,
    /// The libvirt of the runs, if it is the campaign's own.
    pub libvirt: Option<&'a mut OwnLibvirt>,
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
    fn start(&self, number: u64) -> Result<Running> {
        let out = self.runs.dir.join(format!("run-{number}"));
        let history = self.runs.history();
        let mut words = self.runs.words(&out, &history);
        words.extend(["--connect", self.runs.uri]);
        words.extend(self.options.iter().map(String::as_str));
        let mut command = self.runs.product(&[], &words, &self.runs.log(number))?;
        let child = command.spawn().context("tried to start a run")?;
        Ok(Running { child, out })
    }

    /// A run that nobody kills. Returns its exit code.
    pub fn undisturbed(&self, number: u64) -> Result<i32> {
        let mut running = self.start(number)?;
        ended(&mut running.child, DONE_WITHIN)?.code().context("a signal ended the run")
    }

    /// Starts a run, kills one of its processes at a moment that is drawn, and looks at what is
    /// left. A run that ends before is no kill.
    pub fn kill(&mut self, number: u64, chance: &mut Chance) -> Result<Killed> {
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
        let unfinished = results::unfinished(&running.out);
        let mut wrong = Vec::new();
        let code = match ended(&mut running.child, GONE_WITHIN + DONE_WITHIN) {
            Ok(status) => status.code(),
            Err(error) => {
                wrong.push(error.to_string());
                None
            }
        };
        let mut line = format!("{} after {at:.1} s, {place}", kind.name());
        wrong.extend(self.ends(&running));
        if kind == Kind::Libvirtd {
            let guests = self.runs.family(&running).of(Kind::Qemu).len();
            line.push_str(&format!(", guests that went on: {guests}"));
            self.libvirt.as_mut().context("the campaign has a libvirt of its own")?.restart()?;
        }
        wrong.extend(self.runs.clean(&self.runs.family(&running), &before, number)?);
        wrong.extend(self.runs.foreign.missing());
        let (verdict, complaints) = self.judge(number, &running.out, kind, code)?;
        wrong.extend(complaints);
        if kind == Kind::Libvirtd && results::began(&running.out) {
            wrong.extend(results::must_be_unknown(&running.out, &unfinished)?);
        }
        let code = code.map_or("killed".to_owned(), |code| format!("exit {code}"));
        line.push_str(&format!("; run: {code}; results: {verdict}"));
        Ok(Killed { victim: hit.then_some(kind), line, wrong })
    }

    /// Waits for the end of every process of a run. What goes on is wrong, and is killed.
    fn ends(&self, running: &Running) -> Vec<String> {
        let orphans = self.runs.family(running).ends_within(GONE_WITHIN);
        let killed = orphans.iter().map(|orphan| {
            orphan.signal(Signal::KILL);
            format!("an orphan goes on: {} {}", orphan.pid, orphan.words.join(" "))
        });
        killed.collect()
    }

    /// Chooses whom to kill and waits until its moment has come.
    fn victim(&self, running: &Running, chance: &mut Chance) -> Result<Option<(Kind, Process)>> {
        let family = self.runs.family(running);
        let began = Instant::now();
        let drawn = chance.pick(&self.victims).context("no process to kill is named")?;
        // Before a scenario has begun, the run would set libvirt up again.
        let awaited = if drawn == Kind::Libvirtd { Kind::Scenario } else { drawn };
        if drawn != Kind::Xtask {
            family.awaited(awaited, DONE_WITHIN)?;
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
            let found = self.candidates(&family, kind);
            let indices: Vec<usize> = (0..found.len()).collect();
            if let Some(process) = chance.pick(&indices).and_then(|index| found.get(index)) {
                return Ok(Some((kind, process.clone())));
            }
        }
        Ok(None)
    }

    /// The processes of a kind that may be killed now.
    fn candidates(&self, family: &Family<'_>, kind: Kind) -> Vec<Process> {
        if kind != Kind::Libvirtd {
            return family.of(kind);
        }
        let own = self.libvirt.as_ref().filter(|_| !family.of(Kind::Scenario).is_empty());
        own.and_then(|own| Process::find(i32::try_from(own.pid()).ok()?)).into_iter().collect()
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
        let (report, recheck) = self.runs.judged(out, number)?;
        results::judge(out, victim == Kind::Core, &Codes { run, report, recheck })
    }
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
