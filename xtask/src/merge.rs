//! The command `report merge`: makes one report of the shards of a run.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::MergeArgs;
use crate::conformance::rundir::RunDir;
use crate::conformance::shard::DIVISION;
use crate::error::usage;
use crate::suite::Suite;
use crate::terminal::say;
use crate::{history, report};

/// Merges the shards and returns the verdict of the whole run as an exit code.
pub fn command(root: &Utf8Path, arguments: &MergeArgs) -> Result<u8> {
    let MergeArgs { dirs, out, verbose, history } = arguments;
    let dirs = dirs.iter().map(|dir| shards_in(dir)).collect::<Result<Vec<_>>>()?.concat();
    let run = RunDir::plan(out.as_deref())?;
    let suite = Suite::without_guests(root)?;
    run.create()?;
    let merged = merge(&suite, &dirs, &run, *verbose, history.as_deref());
    run.remove_if_empty();
    merged
}

fn merge(
    suite: &Suite,
    dirs: &[Utf8PathBuf],
    run: &RunDir,
    verbose: bool,
    history: Option<&Utf8Path>,
) -> Result<u8> {
    let arguments = ["merge", "--out", run.path.as_str()];
    let arguments: Vec<&str> = arguments.into_iter().chain(dirs.iter().map(|dir| dir.as_str())).collect();
    suite.must(&arguments)?;
    run.link_latest()?;
    say(format!("Run {}: merged, evidence in {}", run.id, run.path));
    let history = history::file(&run.path, history)?;
    suite.verdict(&report::arguments(&run.path, verbose, &history))
}

/// The shards that a directory stands for: itself, or those that lie in it.
fn shards_in(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let unreadable = |error| usage(format!("Looked for a shard in {dir} and could not read it ({error})."));
    let dir = dir.canonicalize_utf8().map_err(unreadable)?;
    let is_part = |dir: &Utf8Path| dir.join(DIVISION).exists();
    let entries = dir.read_dir_utf8().map_err(unreadable)?;
    let mut inside: Vec<_> =
        entries.flatten().map(|entry| entry.path().to_owned()).filter(|dir| is_part(dir)).collect();
    inside.sort();
    // What is neither is refused by the suite, with the reason.
    Ok(if is_part(&dir) || inside.is_empty() { vec![dir] } else { inside })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_the_shards_in_it() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let root =
            Utf8Path::from_path(scratch.path()).expect("a UTF-8 path").canonicalize_utf8().expect("real");
        for name in ["2", "1", "no-shard"] {
            std::fs::create_dir(root.join(name)).expect("made");
        }
        for name in ["1", "2"] {
            std::fs::write(root.join(name).join(DIVISION), "{}").expect("written");
        }
        assert_eq!(shards_in(&root).expect("a list"), [root.join("1"), root.join("2")]);
        assert_eq!(shards_in(&root.join("1")).expect("a list"), [root.join("1")]);
        assert_eq!(shards_in(&root.join("no-shard")).expect("a list"), [root.join("no-shard")]);
        let error = shards_in(&root.join("none")).expect_err("it does not exist");
        assert_eq!(crate::error::code_of(&error), crate::error::USAGE);
    }
}
