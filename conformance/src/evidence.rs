//! The evidence of a scenario: a directory whose first file is a start mark and whose last file is
//! the result.

pub(crate) mod origin;
pub(crate) mod start_mark;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::json;

use crate::context::RunContext;
use crate::foreign_files;
use crate::outcome::ScenarioOutcome;
use crate::timeline::{Happening, Moment, TIMELINE};

pub use start_mark::STARTED;
use start_mark::StartMark;

/// Last file of a scenario.
pub const RESULT: &str = "result.json";
/// Digest of the result, so that a result that was edited afterwards is noticed.
pub const SEAL: &str = "seal.json";
/// Folder that holds a directory for each edge.
pub const EDGES: &str = "edges";
/// Names of the scenarios that a run was asked for, in the run's directory. `cargo xtask` writes
/// it.
pub const ASKED: &str = "asked.json";
/// What stands between a scenario's name and the number of an earlier attempt, in the name of the
/// directory that holds the attempt's evidence.
const ATTEMPT: &str = ".attempt-";
/// Progress of the whole run, one line for each event.
pub const PROGRESS: &str = "progress.jsonl";

/// The evidence directory of one scenario, and its part of the run's progress.
pub struct Evidence {
    dir: Utf8PathBuf,
    scenario: String,
    progress: Mutex<File>,
    moments: Mutex<Moments>,
    began: Instant,
    /// The same moment on the host's clock.
    began_at: jiff::Timestamp,
}

/// The moments that were noted so far.
struct Moments {
    file: File,
    /// Recovery points among them: a core lists each one many times.
    points: BTreeSet<(String, String)>,
}

impl Evidence {
    /// Begins the evidence of a scenario. The directory of an earlier attempt is renamed, so that
    /// evidence of different attempts is not mixed.
    ///
    /// # Errors
    /// The run's directory is not writable.
    pub fn begin(run: &RunContext, scenario: &str) -> Result<Self> {
        let dir = run.dir.join(scenario);
        for attempt in 1.. {
            let aside = run.dir.join(format!("{scenario}{ATTEMPT}{attempt}"));
            if !dir.exists() {
                break;
            }
            if !aside.exists() {
                std::fs::rename(&dir, &aside).with_context(|| format!("set {dir} aside"))?;
            }
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("make {dir}"))?;
        let (began, began_at) = (Instant::now(), jiff::Timestamp::now());
        let started = StartMark {
            scenario: scenario.to_owned(),
            run: Some(run.id.clone()),
            at: Some(began_at.to_string()),
        };
        let mark = dir.join(STARTED);
        std::fs::write(&mark, json!(started).to_string()).with_context(|| format!("write {mark}"))?;
        let path = run.dir.join(PROGRESS);
        let progress = File::options().create(true).append(true).open(&path);
        let progress = Mutex::new(progress.with_context(|| format!("open {path}"))?);
        let path = dir.join(TIMELINE);
        let file = File::create(&path).with_context(|| format!("write {path}"))?;
        let moments = Mutex::new(Moments { file, points: BTreeSet::new() });
        Ok(Self { dir, scenario: scenario.to_owned(), progress, moments, began, began_at })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// Milliseconds since the scenario began.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A path inside the directory, as results name it.
    #[must_use]
    pub fn relative(&self, path: &Utf8Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).to_string()
    }

    /// Notes that something happens now.
    pub fn note(&self, what: Happening) {
        self.note_at(Instant::now(), what);
    }

    /// Notes when something happened.
    pub fn note_at(&self, at: Instant, what: Happening) {
        let since = at.saturating_duration_since(self.began);
        self.write(Moment { at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), what });
    }

    /// Notes a recovery point of a machine, once. `time` is its moment on the host's clock, in
    /// milliseconds since 1970.
    pub fn note_point(&self, machine: &str, point: &str, time: u64) {
        let key = (machine.to_owned(), point.to_owned());
        if !self.moments.lock().unwrap_or_else(PoisonError::into_inner).points.insert(key) {
            return;
        }
        let began = u64::try_from(self.began_at.as_millisecond()).unwrap_or_default();
        let what = Happening::Point { machine: machine.to_owned(), point: point.to_owned() };
        self.write(Moment { at_ms: time.saturating_sub(began), what });
    }

    fn write(&self, moment: Moment) {
        let Ok(line) = serde_json::to_string(&moment) else { return };
        let file = &mut self.moments.lock().unwrap_or_else(PoisonError::into_inner).file;
        // Only the report's drawing depends on it.
        let _ = writeln!(file, "{line}");
    }

    /// Reports that a step begins. The returned guard reports its end when it is dropped: `failed`,
    /// unless it was marked as done.
    pub fn step<'a>(&'a self, edge: &'a str, step: &'a str) -> StepGuard<'a> {
        self.report(edge, step, "start", None);
        StepGuard { evidence: self, edge, step, done: false }
    }

    /// Reports how much of a step is done.
    pub fn progress(&self, edge: &str, step: &str, done: u64, total: u64, unit: &str) {
        self.report(edge, step, "progress", Some((done, total, unit)));
    }

    fn report(&self, edge: &str, step: &str, state: &str, amount: Option<(u64, u64, &str)>) {
        let mut line = json!({
            "at_ms": self.elapsed_ms(), "scenario": self.scenario, "edge": edge, "step": step, "state": state,
        });
        if let Some((done, total, unit)) = amount {
            line["done"] = done.into();
            line["total"] = total.into();
            line["unit"] = unit.into();
        }
        let mut file = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing depends on progress; a full disk fails the scenario elsewhere.
        let _ = writeln!(file, "{line}");
    }

    /// Ends the evidence with the result.
    ///
    /// # Errors
    /// The result cannot be written. Without one the scenario counts as unknown.
    pub fn end(&self, outcome: &ScenarioOutcome) -> Result<()> {
        let path = self.dir.join(RESULT);
        let working = path.with_extension("writing");
        let text = serde_json::to_vec_pretty(outcome).context("write the result")?;
        let seal = self.dir.join(SEAL);
        std::fs::write(&seal, json!({"result": digest(&text)}).to_string())
            .with_context(|| format!("write {seal}"))?;
        std::fs::write(&working, text).with_context(|| format!("write {working}"))?;
        std::fs::rename(&working, &path).with_context(|| format!("write {path}"))
    }
}

/// When the scenario whose evidence is in `dir` began; `None` if its start mark does not say.
#[must_use]
pub fn began(dir: &Utf8Path) -> Option<jiff::Timestamp> {
    StartMark::read(dir).ok()?.at?.parse().ok()
}

/// Names of the scenarios that the run in `dir` was asked for; none if that is not stored.
///
/// # Errors
/// [`ASKED`] cannot be read.
pub fn asked(dir: &Utf8Path) -> Result<Vec<String>> {
    let path = dir.join(ASKED);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = foreign_files::read(&path).with_context(|| format!("read {path}"))?;
    serde_json::from_slice(&text).with_context(|| format!("understand {path}"))
}

/// The scenario of which a directory of this name holds an earlier attempt; `None` if it does not.
#[must_use]
pub fn attempt_of(directory: &str) -> Option<&str> {
    let (scenario, number) = directory.rsplit_once(ATTEMPT)?;
    (!number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())).then_some(scenario)
}

fn digest(text: &[u8]) -> String {
    blake3::hash(text).to_string()
}

/// Whether a result is the one that its scenario wrote; `Err` says why not. `text` is the content
/// of [`RESULT`] in `dir`.
///
/// # Errors
/// The seal is missing or belongs to another result.
pub fn check_seal(dir: &Utf8Path, text: &[u8]) -> Result<(), String> {
    let seal =
        foreign_files::read(&dir.join(SEAL)).map_err(|error| format!("{SEAL} cannot be read ({error})"))?;
    let seal: serde_json::Value =
        serde_json::from_slice(&seal).map_err(|error| format!("{SEAL} is malformed ({error})"))?;
    if seal["result"] == digest(text) {
        return Ok(());
    }
    Err(format!("{RESULT} is not the result that the scenario wrote: it was edited afterwards"))
}

/// A step that runs.
pub struct StepGuard<'a> {
    evidence: &'a Evidence,
    edge: &'a str,
    step: &'a str,
    done: bool,
}

impl StepGuard<'_> {
    /// Marks the step as done.
    pub fn done(mut self) {
        self.done = true;
    }

    /// Marks the step as done if `result` is `Ok`, and returns `result`.
    pub fn with<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.done = result.is_ok();
        result
    }
}

impl Drop for StepGuard<'_> {
    fn drop(&mut self) {
        let state = if self.done { "done" } else { "failed" };
        self.evidence.report(self.edge, self.step, state, None);
    }
}
