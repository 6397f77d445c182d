//! The command `clean`: removes what dead runs left running, and old run directories.

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};

use crate::conformance::rundir::{LATEST, RUNS, list};
use crate::error::infrastructure;
use crate::setup;
use crate::suite::Suite;
use crate::terminal::{bytes, in_ci, on_terminal};

/// Takes down what dead runs left, then offers to delete run directories older than so many days.
pub fn command(root: &Utf8Path, days: Option<u32>, yes: bool) -> Result<()> {
    Suite::on_ready_machine(root)?.must(&["reap", "--kept"])?;
    println!("Guests, servers and scratch folders of dead runs are removed.");
    days.map_or(Ok(()), |days| delete_runs(days, yes))
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
    let total = old.iter().map(|path| size(path)).sum();
    let question =
        format!("Delete {} runs under {runs} older than {days} days, {}?", old.len(), bytes(total));
    if !confirmed(&question, yes)? {
        println!("Nothing was deleted.");
        return Ok(());
    }
    for path in &old {
        std::fs::remove_dir_all(path).with_context(|| format!("tried to delete {path}"))?;
    }
    remove_if_dangling(&runs.join(LATEST));
    println!("Deleted {} runs, {}.", old.len(), bytes(total));
    Ok(())
}

fn confirmed(question: &str, yes: bool) -> Result<bool> {
    if yes || in_ci() {
        return Ok(true);
    }
    if !on_terminal() {
        return Err(infrastructure(format!("{question} There is no terminal to ask on: add --yes.")));
    }
    setup::ask(question)
}

fn remove_if_dangling(link: &Utf8Path) {
    if link.is_symlink() && !link.exists() {
        let _ = std::fs::remove_file(link);
    }
}

/// Bytes on disk below a directory. Guests' disks are sparse, so the lengths of files would mislead.
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
