//! Notes what a run was asked for, so that its report can say how to repeat it.

use std::process::Command;

use anyhow::{Context, Result};
use camino::Utf8Path;
use serde_json::json;

use super::environment::SEED;
use crate::cli::ConformanceArgs;

/// The file in the run's directory that holds it.
const FILE: &str = "request.json";

/// Writes the request into the run's directory.
pub fn note(root: &Utf8Path, dir: &Utf8Path, arguments: &ConformanceArgs) -> Result<()> {
    let command = typed();
    let seed = arguments.seed.map(|seed| seed.to_string()).or_else(|| std::env::var(SEED).ok());
    let (options, revision) = (options(arguments), revision(root));
    let request = json!({"command": command, "options": options, "seed": seed, "revision": revision});
    let path = dir.join(FILE);
    std::fs::write(&path, request.to_string()).with_context(|| format!("tried to write {path}"))
}

/// The command of this process, as a user types it.
pub fn typed() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", shell_words::join(&words))
}

/// The revision of the suite's source, and whether files differ from it; empty outside of a
/// repository.
fn revision(root: &Utf8Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    };
    let Some(revision) = git(&["rev-parse", "HEAD"]) else { return String::new() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => revision,
        _ => revision + ", changed since",
    }
}

/// The options that change what a scenario does, whichever scenarios run.
fn options(arguments: &ConformanceArgs) -> String {
    let ConformanceArgs {
        connect, core, kills, mutant, variant, profile, cycles, seeds, run_name, rule, ..
    } = arguments;
    let numbers =
        [("--cycles", cycles), ("--seeds", seeds)].map(|(name, n)| (name, n.map(|n| n.to_string())));
    let texts = [
        ("--connect", connect),
        ("--core", core),
        ("--kills", kills),
        ("--mutant", mutant),
        ("--variant", variant),
        ("--profile", profile),
        ("--run-name", run_name),
    ];
    let texts = texts.map(|(name, text)| (name, text.clone()));
    let rules = rule.iter().map(|id| ("--rule", Some(id.clone())));
    let given = texts
        .into_iter()
        .chain(numbers)
        .chain(rules)
        .filter_map(|(name, value)| Some([name.to_owned(), value?]));
    shell_words::join(given.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Consent;

    #[test]
    fn what_changes_a_scenario_is_kept_and_quoted_for_a_shell() {
        let plain = ConformanceArgs::only("clock", Consent::default());
        assert_eq!(options(&plain), "");
        let core = Some("./core --slow".to_owned());
        let asked = ConformanceArgs { core, cycles: Some(3), jobs: Some(2), ..plain };
        assert_eq!(options(&asked), "--core './core --slow' --cycles 3");
    }

    #[test]
    fn the_request_is_a_file_of_the_run() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = Utf8Path::from_path(scratch.path()).expect("a UTF-8 path");
        note(dir, dir, &ConformanceArgs::only("clock", Consent::default())).expect("written");
        let text = std::fs::read(dir.join(FILE)).expect("it is there");
        let request: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert!(request["command"].as_str().is_some_and(|line| line.starts_with("cargo xtask")));
    }
}
