//! Live progress: tests append events to `progress.jsonl`, the person sees steps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::remaining::Remaining;
use crate::terminal::{bytes, human, on_terminal, say};

/// What an event says about its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Start,
    Progress,
    Done,
    Failed,
}

/// One line of `progress.jsonl`.
#[derive(Debug, Clone, Deserialize)]
struct Event {
    at_ms: u64,
    scenario: String,
    #[serde(default)]
    edge: Option<String>,
    step: String,
    state: State,
    #[serde(default)]
    done: Option<u64>,
    #[serde(default)]
    total: Option<u64>,
    #[serde(default)]
    unit: Option<String>,
}

impl Event {
    fn name(&self) -> String {
        match self.edge.as_deref() {
            Some(edge) if !edge.is_empty() => format!("{edge} · {}", self.step),
            _ => self.step.clone(),
        }
    }

    /// `12.0 MiB`.
    fn figure(&self, count: u64) -> String {
        let unit = self.unit.as_deref().unwrap_or_default();
        if unit == "bytes" { bytes(count) } else { format!("{count} {unit}").trim_end().to_owned() }
    }

    /// `12.0 MiB of 64.0 MiB, 18 %`.
    fn amount(&self) -> String {
        match (self.done, self.total) {
            (Some(done), Some(total)) if total > 0 => {
                let percent = done.saturating_mul(100) / total;
                format!("{} of {}, {percent} %", self.figure(done), self.figure(total))
            }
            (Some(done), _) => self.figure(done),
            _ => String::new(),
        }
    }
}

/// Reads the complete new lines of a file to which others append. The file need not exist yet.
struct Follower {
    path: Utf8PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

impl Follower {
    fn new_lines(&mut self) -> Vec<String> {
        let mut fresh = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_end(&mut fresh)
        });
        self.offset += read.unwrap_or(0) as u64;
        self.rest.extend(fresh);
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        String::from_utf8_lossy(&lines).lines().map(String::from).collect()
    }
}

/// A step in progress.
struct Running {
    since_ms: u64,
    /// The amount in its last progress event.
    amount: Option<String>,
}

/// The steps in progress.
#[derive(Default)]
struct Steps(BTreeMap<(String, String), Running>);

impl Steps {
    /// Takes an event in. Returns the line to print if it ends a step, which usually takes as long
    /// as `usual` says.
    fn apply(&mut self, event: &Event, usual: Option<Duration>) -> Option<String> {
        let key = (event.scenario.clone(), event.name());
        let amount = event.done.map(|done| event.figure(done));
        let mark = match event.state {
            State::Start => {
                self.0.insert(key, Running { since_ms: event.at_ms, amount });
                return None;
            }
            State::Progress => {
                self.0.entry(key).or_insert(Running { since_ms: event.at_ms, amount: None }).amount = amount;
                return None;
            }
            State::Done => "✓",
            State::Failed => "✗",
        };
        let running = self.0.remove(&key).unwrap_or(Running { since_ms: event.at_ms, amount: None });
        let took = human(Duration::from_millis(event.at_ms.saturating_sub(running.since_ms)));
        let usual = usual.map(|usual| format!("usually {}", human(usual)));
        let details = amount.or(running.amount).into_iter().chain([took]).chain(usual);
        let details = details.collect::<Vec<_>>().join(", ");
        Some(format!("{mark} {}  {} ({details})", event.scenario, event.name()))
    }
}

/// The live view of a run.
pub struct ProgressView {
    follower: Follower,
    steps: Steps,
    bars: BTreeMap<String, ProgressBar>,
    all: MultiProgress,
    /// The line that says how far the whole run is.
    whole: Option<ProgressBar>,
    remaining: Remaining,
    run: Utf8PathBuf,
    animated: bool,
    began: Instant,
}

impl ProgressView {
    /// Begins to watch a run's progress file. `remaining` knows what is usual on this host.
    pub fn new(run: &camino::Utf8Path, remaining: Remaining) -> Self {
        Self {
            follower: Follower { path: run.join("progress.jsonl"), offset: 0, rest: Vec::new() },
            steps: Steps::default(),
            bars: BTreeMap::new(),
            all: MultiProgress::new(),
            whole: None,
            remaining,
            run: run.to_owned(),
            animated: on_terminal(),
            began: Instant::now(),
        }
    }

    /// Shows what is new. Skips a line that is no event: the person cannot do anything about it.
    pub fn refresh(&mut self) {
        for line in self.follower.new_lines() {
            if let Ok(event) = serde_json::from_str::<Event>(&line) {
                self.show(&event);
            }
        }
        self.note_ended();
        if self.animated {
            self.show_whole();
        }
    }

    /// Notes the scenarios that have left their result. Without a terminal a line says how far the
    /// run is.
    fn note_ended(&mut self) {
        let has_ended = |name: &&str| self.run.join(name).join("result.json").exists();
        let ended: Vec<String> = self.remaining.running().filter(has_ended).map(String::from).collect();
        for scenario in ended {
            self.remaining.ended(&scenario);
            if !self.animated {
                self.print(&format!("· {}", self.remaining.words(Instant::now())));
            }
        }
    }

    fn show_whole(&mut self) {
        let words = self.remaining.words(Instant::now());
        let all = &self.all;
        let new = || {
            let style = ProgressStyle::with_template("{wide_msg:.dim}");
            let bar = all.insert(0, ProgressBar::new_spinner());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        };
        self.whole.get_or_insert_with(new).set_message(words);
    }

    fn show(&mut self, event: &Event) {
        self.remaining.heard_of(&event.scenario, Instant::now());
        let usual = self.remaining.usual_step(&event.scenario, &event.name());
        let finished = self.steps.apply(event, usual);
        if self.animated {
            let usual = usual.map_or_else(String::new, |usual| format!("  usually {}", human(usual)));
            let bar = self.bar(&event.scenario);
            bar.set_message(format!("{}  {}{usual}", event.name(), event.amount()));
        }
        if let Some(line) = finished {
            self.print(&line);
        }
    }

    fn bar(&mut self, scenario: &str) -> ProgressBar {
        let all = &self.all;
        let new = || {
            let bar = all.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(scenario.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        };
        self.bars.entry(scenario.to_owned()).or_insert_with(new).clone()
    }

    /// Prints a line that stays on the screen.
    pub fn print(&self, line: &str) {
        let line = format!("{:>6.1} s  {line}", self.began.elapsed().as_secs_f64());
        if self.animated {
            let _ = self.all.println(line);
        } else {
            say(line);
        }
    }

    /// Shows the last events and removes the spinners.
    pub fn finish(mut self) {
        self.refresh();
        self.bars.values().chain(&self.whole).for_each(ProgressBar::finish_and_clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(json: &str) -> Event {
        serde_json::from_str(json).expect("an event")
    }

    #[test]
    fn a_step_is_printed_when_it_ends() {
        let mut steps = Steps::default();
        let start = r#"{"at_ms":1000,"scenario":"a","edge":"failover","step":"boot","state":"start"}"#;
        let done = r#"{"at_ms":6200,"scenario":"a","edge":"failover","step":"boot","state":"done"}"#;
        assert_eq!(steps.apply(&event(start), None), None);
        let usual = Some(Duration::from_millis(5_100));
        let line = steps.apply(&event(done), usual);
        assert_eq!(line.as_deref(), Some("✓ a  failover · boot (5.2 s, usually 5.1 s)"));
        let failed = r#"{"at_ms":6200,"scenario":"a","step":"copy","state":"failed","done":3,"total":4,"unit":"records"}"#;
        assert_eq!(steps.apply(&event(failed), None).as_deref(), Some("✗ a  copy (3 records, 0.0 s)"));
        let progress = r#"{"at_ms":7000,"scenario":"a","step":"copy","state":"progress","done":2048,"total":4096,"unit":"bytes"}"#;
        let done = r#"{"at_ms":8000,"scenario":"a","step":"copy","state":"done"}"#;
        assert_eq!(steps.apply(&event(progress), None), None);
        assert_eq!(steps.apply(&event(done), None).as_deref(), Some("✓ a  copy (2.0 KiB, 1.0 s)"));
    }

    #[test]
    fn amounts_have_units() {
        let with = |fields: &str| {
            event(&format!(r#"{{"at_ms":1,"scenario":"a","step":"s","state":"progress"{fields}}}"#)).amount()
        };
        assert_eq!(with(r#","done":1048576,"total":4194304,"unit":"bytes""#), "1.0 MiB of 4.0 MiB, 25 %");
        assert_eq!(with(r#","done":7,"total":0"#), "7");
        assert_eq!(with(""), "");
    }

    #[test]
    fn an_incomplete_line_is_kept_until_it_is_complete() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = Utf8PathBuf::try_from(dir.path().join("p")).expect("a UTF-8 path");
        let mut follower = Follower { path: path.clone(), offset: 0, rest: Vec::new() };
        assert!(follower.new_lines().is_empty(), "the file is not there yet");
        std::fs::write(&path, "one\ntw").expect("written");
        assert_eq!(follower.new_lines(), ["one"]);
        std::fs::write(&path, "one\ntwo\n").expect("written");
        assert_eq!(follower.new_lines(), ["two"]);
    }
}
