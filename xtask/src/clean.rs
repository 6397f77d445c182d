//! The commands `clean` and `recheck`: what runs left, and what it still says.

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};

use crate::conformance::rundir::{LATEST, RUNS, list};
use crate::error::{infrastructure, usage};
use crate::host::Live;
use crate::run::{bytes, in_ci, on_terminal};
use crate::setup::{self, Work, daemon};
use crate::suite::Suite;

/// Takes down what dead runs left, then offers to delete old run directories.
pub fn command(root: &Utf8Path, days: Option<u32>, yes: bool) -> Result<()> {
    suite(root)?.must(&["reap", "--kept"])?;
    println!("What dead runs left is taken down.");
    days.map_or(Ok(()), |days| delete_runs(days, yes))
}

/// Judges stored evidence again.
pub fn recheck(root: &Utf8Path, dir: &Utf8Path) -> Result<u8> {
    let path = dir.canonicalize_utf8().map_err(|error| {
        usage(format!("Looked for a run's evidence in {dir} and could not read it ({error})."))
    })?;
    suite(root)?.verdict(&["recheck", path.as_str()])
}

/// The command `diagrams`.
pub fn diagrams(root: &Utf8Path) -> Result<()> {
    let output = suite(root)?.command(&["diagrams"]).output().context("tried to run the suite's binary")?;
    let path = root.join("docs/states.md");
    std::fs::write(&path, output.stdout).with_context(|| format!("tried to write {path}"))?;
    println!("Wrote {path}.");
    Ok(())
}

/// The suite, on a machine that is set up: these commands change nothing of it.
fn suite(root: &Utf8Path) -> Result<Suite> {
    if !Work::find(&Live, root)?.is_empty() {
        return Err(infrastructure("This machine is not set up: run `cargo xtask setup`, then this again."));
    }
    Suite::build(root, daemon::uri(&Live))
}

fn delete_runs(days: u32, yes: bool) -> Result<()> {
    let runs = Utf8Path::new(RUNS);
    let before = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(days));
    let old: Vec<Utf8PathBuf> =
        list(runs)?.into_iter().filter(|(_, made)| *made < before).map(|(path, _)| path).collect();
    if old.is_empty() {
        println!("No run under {runs} is older than {days} days.");
        return Ok(());
    }
    let sizes = old.iter().map(|path| size(path)).sum();
    let question =
        format!("Delete {} runs under {runs} older than {days} days, {}?", old.len(), bytes(sizes));
    if !agreed(&question, yes)? {
        println!("Kept.");
        return Ok(());
    }
    for path in &old {
        std::fs::remove_dir_all(path).with_context(|| format!("tried to delete {path}"))?;
    }
    drop_dangling(&runs.join(LATEST));
    println!("Deleted {} runs, {}.", old.len(), bytes(sizes));
    Ok(())
}

fn agreed(question: &str, yes: bool) -> Result<bool> {
    if yes || in_ci() {
        return Ok(true);
    }
    if !on_terminal() {
        return Err(infrastructure(format!("{question} Nobody is here to be asked: add --yes.")));
    }
    setup::ask(question)
}

fn drop_dangling(link: &Utf8Path) {
    if link.is_symlink() && !link.exists() {
        let _ = std::fs::remove_file(link);
    }
}

/// Bytes on disk under a directory; guests' disks are sparse, so lengths would mislead.
fn size(dir: &Utf8Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = dir.read_dir_utf8() else { return 0 };
    let of_entry = |entry: camino::Utf8DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of_entry).sum()
}
