//! The command `clean`: removes what dead runs left running, and old run directories; packs the
//! evidence of runs.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use jiff::{SignedDuration, Timestamp};

use crate::cli::CleanArgs;
use crate::conformance::rundir::{LATEST, RUNS, list};
use crate::error::infrastructure;
use crate::setup;
use crate::suite::Suite;
use crate::terminal::{bytes, in_ci, on_terminal};

/// Takes down what dead runs left, then offers to delete run directories older than so many days,
/// and packs the evidence in the others.
pub fn command(root: &Utf8Path, arguments: &CleanArgs) -> Result<()> {
    let CleanArgs { runs: days, pack, ref connect, ref consent } = *arguments;
    let suite = Suite::on_ready_machine(root)?;
    let suite = connect.iter().fold(suite, |suite, uri| suite.at(uri));
    suite.must(&["reap", "--kept"])?;
    println!("Guests, servers and scratch folders of dead runs are removed.");
    if let Some(days) = days {
        delete_runs(days, consent.yes)?;
    }
    if pack { pack_runs(&suite) } else { Ok(()) }
}

/// Packs what passed in every run under the default place.
fn pack_runs(suite: &Suite) -> Result<()> {
    let runs = Utf8Path::new(RUNS);
    let before = size(runs);
    for (path, _) in list(runs)? {
        suite.must(&["pack", path.canonicalize_utf8()?.as_str()])?;
    }
    let after = size(runs);
    println!(
        "The runs under {runs} take {} now; {} are free again.",
        bytes(after),
        bytes(before.saturating_sub(after))
    );
    Ok(())
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
    let whole = size(runs);
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
    let freed = whole.saturating_sub(size(runs));
    println!("Deleted {} runs, {} are free again.", old.len(), bytes(freed));
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

/// Bytes on disk below a directory. Guests' disks are sparse, so the lengths of files would
/// mislead. A file that several scenarios share counts once.
fn size(dir: &Utf8Path) -> u64 {
    add_size(dir, &mut BTreeSet::new())
}

fn add_size(dir: &Utf8Path, shared: &mut BTreeSet<(u64, u64)>) -> u64 {
    let Ok(entries) = dir.read_dir_utf8() else { return 0 };
    let of_entry = |entry: camino::Utf8DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => add_size(entry.path(), shared),
        Ok(data) if data.nlink() > 1 && !shared.insert((data.dev(), data.ino())) => 0,
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of_entry).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_scenarios_share_counts_once_and_a_hole_counts_nothing() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = Utf8Path::from_path(scratch.path()).expect("a UTF-8 path");
        for scenario in ["one", "two"] {
            std::fs::create_dir(dir.join(scenario)).expect("made");
        }
        std::fs::write(dir.join("one/pack"), vec![1; 1 << 20]).expect("written");
        let alone = size(dir);
        assert!((1 << 20..2 << 20).contains(&alone), "{alone}");
        std::fs::hard_link(dir.join("one/pack"), dir.join("two/pack")).expect("linked");
        let sparse = std::fs::File::create(dir.join("two/disk.raw")).expect("made");
        sparse.set_len(1 << 30).expect("made longer");
        assert_eq!(size(dir), alone);
        assert_eq!(size(&dir.join("two")), size(&dir.join("one")));
    }
}
