//! The directory of one run.

use std::io::ErrorKind;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{infrastructure, usage};

/// The default parent of run directories, below the current directory.
pub const RUNS: &str = "roundtrip-runs";
/// The symbolic link to the newest run.
pub const LATEST: &str = "latest";
/// Format of an id's time: UTC, sortable, without characters that shells treat specially.
const STAMP: &str = "%Y%m%dT%H%M%SZ";
/// Files that show that a directory belongs to an earlier run.
const RUN_FILES: [&str; 3] = ["progress.jsonl", "results.json", "nextest.log"];

/// One run's directory.
pub struct RunDir {
    /// Its absolute path.
    pub path: Utf8PathBuf,
    /// The run's id, which the names and metadata of its guests carry.
    pub id: String,
    /// Whether this is the default place: only there a link to the newest run is kept.
    is_default: bool,
    /// The directories that this run creates, innermost first.
    new: Vec<Utf8PathBuf>,
}

impl RunDir {
    /// Chooses the directory without creating it.
    pub fn plan(out: Option<&Utf8Path>) -> Result<Self> {
        let id = new_id()?;
        let here = Utf8PathBuf::try_from(std::env::current_dir()?)?;
        let path = here.join(out.map_or_else(|| Utf8Path::new(RUNS).join(&id), Utf8Path::to_owned));
        if let Some(file) = RUN_FILES.iter().find(|name| path.join(name).exists()) {
            return Err(usage(format!(
                "{path} holds {file} of an earlier run: choose another --out, so that evidence of two runs is not mixed."
            )));
        }
        let new = path.ancestors().take_while(|dir| !dir.exists()).map(Utf8Path::to_owned).collect();
        Ok(Self { path, id, is_default: out.is_none(), new })
    }

    /// Creates the directory and checks that it is writable.
    pub fn create(&self) -> Result<()> {
        let probe = self.path.join(".writable");
        let tried = std::fs::create_dir_all(&self.path)
            .and_then(|()| std::fs::write(&probe, b"?"))
            .and_then(|()| std::fs::remove_file(&probe));
        tried.map_err(|error| {
            infrastructure(format!(
                "Cannot write to {} ({error}): choose another place with --out.",
                self.path
            ))
        })?;
        Ok(())
    }

    /// Points the link to the newest run at this one. Called when the run begins.
    pub fn link_latest(&self) -> Result<()> {
        let Some(parent) = self.path.parent().filter(|_| self.is_default) else { return Ok(()) };
        // Made under another name and renamed, so that a reader never finds the link missing.
        let link = parent.join(LATEST);
        let aside = parent.join(format!(".{}", self.id));
        std::os::unix::fs::symlink(&self.id, &aside)
            .and_then(|()| std::fs::rename(&aside, &link))
            .with_context(|| format!("tried to point {link} at {}", self.id))
    }

    /// Notes the scenarios that the run was asked for, so that the report names one that never
    /// starts.
    pub fn note_asked<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<()> {
        let names: Vec<&String> = names.collect();
        let path = self.path.join("asked.json");
        std::fs::write(&path, serde_json::to_vec(&names)?).with_context(|| format!("tried to write {path}"))
    }

    /// Removes the directories that this run created, if nothing was written to them.
    pub fn remove_if_empty(&self) {
        if self.path.read_dir_utf8().map_or(true, |mut entries| entries.next().is_some()) {
            return;
        }
        // Stops at the first directory that holds something else.
        let _ = self.new.iter().try_for_each(std::fs::remove_dir);
    }
}

/// `20260102T030405Z-1a2b3c`: the time, and a random part that tells two runs of the same second
/// apart.
pub fn new_id() -> Result<String> {
    let mut random = [0u8; 3];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    let [a, b, c] = random;
    Ok(format!("{}-{a:02x}{b:02x}{c:02x}", Timestamp::now().strftime(STAMP)))
}

/// The time in the name of a run directory; none for other names.
pub fn made_at(name: &str) -> Option<Timestamp> {
    let (stamp, random) = name.split_once('-')?;
    let hex = random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = jiff::civil::DateTime::strptime(STAMP, stamp).ok().filter(|_| hex)?;
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// Run directories under a directory, with the time each was made.
pub fn list(runs: &Utf8Path) -> Result<Vec<(Utf8PathBuf, Timestamp)>> {
    let entries = match runs.read_dir_utf8() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("tried to read {runs}"))?,
    };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.path().to_owned(), made_at(entry.file_name())?)))
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let path = Utf8PathBuf::try_from(dir.path().to_owned()).expect("a UTF-8 path");
        (dir, path)
    }

    #[test]
    fn an_id_contains_its_time() {
        let id = new_id().expect("an id");
        let age = Timestamp::now().duration_since(made_at(&id).expect("a time"));
        assert!((0..5).contains(&age.as_secs()), "{id}");
        for no_run in ["latest", "20260102T030405Z", "20260102T030405Z-zzzzzz", "2026-1a2b3c"] {
            assert_eq!(made_at(no_run), None, "{no_run}");
        }
    }

    #[test]
    fn evidence_of_two_runs_is_not_mixed() {
        let (_keep, dir) = scratch();
        let run = RunDir::plan(Some(&dir)).expect("an empty directory is accepted");
        run.create().expect("it can be written");
        std::fs::write(dir.join("progress.jsonl"), "").expect("written");
        let error = RunDir::plan(Some(&dir)).err().expect("it belongs to a run");
        assert_eq!(crate::error::code_of(&error), crate::error::USAGE);
    }

    #[test]
    fn a_directory_that_is_not_writable_is_named() {
        let run =
            RunDir { path: "/proc/roundtrip".into(), id: "x".into(), is_default: false, new: Vec::new() };
        let line = run.create().expect_err("it is not writable").to_string();
        assert!(line.starts_with("Cannot write to /proc/roundtrip ("), "{line}");
    }

    #[test]
    fn the_newest_run_is_linked_and_a_run_that_never_began_leaves_nothing() {
        let (_keep, dir) = scratch();
        let id = new_id().expect("an id");
        let runs = dir.join(RUNS);
        let new = vec![runs.join(&id), runs.clone()];
        let run = RunDir { path: runs.join(&id), id: id.clone(), is_default: true, new };
        run.create().expect("created");
        run.link_latest().expect("linked");
        assert_eq!(std::fs::read_link(runs.join(LATEST)).expect("a link"), std::path::Path::new(&id));
        assert_eq!(list(&runs).expect("a list").len(), 1);
        std::fs::remove_file(runs.join(LATEST)).expect("unlinked");
        run.remove_if_empty();
        assert_eq!(std::fs::read_dir(&dir).expect("it exists").count(), 0);
    }
}
