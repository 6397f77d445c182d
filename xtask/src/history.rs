//! The command `history`, and what a run wants to know of the history. Only the suite's binary
//! reads the file.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::cli::HistoryCommand;
use crate::error::infrastructure;
use crate::suite::Suite;

/// The name of the file, beside the directories of the runs.
const FILE: &str = "history.sqlite";

/// Shows or shortens the history.
pub fn command(root: &Utf8Path, history: &Utf8Path, what: &HistoryCommand) -> Result<u8> {
    let file = absolute(history)?;
    let keep;
    let what: &[&str] = match what {
        HistoryCommand::List => &["list"],
        HistoryCommand::Show { run } => &["show", run],
        HistoryCommand::Prune { keep: number } => {
            keep = number.to_string();
            &["prune", "--keep", &keep]
        }
        HistoryCommand::Accept { run } => &["accept", run],
        HistoryCommand::Export => &["export"],
    };
    let fixed = ["history", "--file", file.as_str()];
    let arguments: Vec<&str> = fixed.iter().chain(what).copied().collect();
    Suite::without_guests(root)?.verdict(&arguments)
}

/// The history of the run in `dir`: the one that was asked for, or the one beside the run.
pub fn file(dir: &Utf8Path, asked: Option<&Utf8Path>) -> Result<Utf8PathBuf> {
    let beside = || dir.parent().unwrap_or(dir).join(FILE);
    absolute(&asked.map_or_else(beside, Utf8Path::to_owned))
}

/// A path as other programs understand it, whatever their working directories.
pub fn absolute(path: &Utf8Path) -> Result<Utf8PathBuf> {
    Ok(Utf8PathBuf::try_from(std::env::current_dir()?)?.join(path))
}

/// How long things usually take on this host, in milliseconds.
#[derive(Debug, Default, Deserialize)]
pub struct Usual {
    /// How many runs that comes from.
    pub runs: usize,
    /// Whole scenarios, by name.
    pub scenarios: BTreeMap<String, u64>,
    /// Steps, by scenario, then by the name that progress shows.
    pub steps: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Asks the suite. Without a history that it can read, nothing is usual: the report of the run says
/// what is wrong with the file.
pub fn usual(suite: &Suite, file: &Utf8Path) -> Usual {
    let mut command = suite.command(&["history", "--file", file.as_str(), "usual"]);
    let output = command.stderr(Stdio::null()).output();
    output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default()
}

/// How long scenarios took in the runs of a history, whatever their hosts, in milliseconds: empty
/// without a history. One that cannot be read is an error, because shards would divide differently.
pub fn durations(suite: &Suite, file: &Utf8Path) -> Result<BTreeMap<String, u64>> {
    let output = suite.command(&["history", "--file", file.as_str(), "durations"]).output()?;
    if !output.status.success() {
        return Err(infrastructure(String::from_utf8_lossy(&output.stderr).trim()));
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("tried to read durations from {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_lies_beside_the_run_unless_another_is_asked_for() {
        let beside = file(Utf8Path::new("/runs/one"), None).expect("a path");
        assert_eq!(beside, "/runs/history.sqlite");
        let asked =
            file(Utf8Path::new("/runs/one"), Some(Utf8Path::new("/kept/all.sqlite"))).expect("a path");
        assert_eq!(asked, "/kept/all.sqlite");
        assert!(
            file(Utf8Path::new("/runs/one"), Some(Utf8Path::new("here")))
                .is_ok_and(|path| path.is_absolute())
        );
    }
}
