//! A place for a rehearsal, and what runs in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::files::root;

/// What a rehearsal asks of a run, so that it takes seconds: two simulated cycles of each kind, and
/// of one kind where guests would be measured.
pub const QUICK: [(&str, &str); 4] =
    [("TIER", "sim"), ("SEEDS", "2"), ("MEASURED", "sim-vmware-azure"), ("CI", "true")];
/// How many shards a rehearsal has, whatever the file says.
pub const SHARDS: usize = 2;
/// Variables of the engine that runs these tests, if one does.
const OF_THIS_ENGINE: [&str; 7] = [
    "GITHUB_STEP_SUMMARY",
    "CI_NODE_INDEX",
    "CI_NODE_TOTAL",
    "CI_PIPELINE_ID",
    "JOB_COMPLETION_INDEX",
    "JOB_COMPLETIONS",
    "ROUNDTRIP_SEED",
];
/// Folders that steps make in the work tree.
const MADE: [&str; 4] = ["history", "shards", "report", "cost"];

/// A scratch directory. What steps make in the work tree is removed with it.
pub struct Place(tempfile::TempDir);

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Everything that it printed.
    pub output: String,
    /// What it printed as its answer.
    pub answer: String,
}

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a scratch directory"));
        for name in MADE {
            assert!(!root().join(name).exists(), "{name} in the work tree is in the way: move it");
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Removes what steps made in the work tree: the next job has one of its own.
    pub fn tidy(&self) {
        for name in MADE {
            // Most jobs do not make all of them.
            let _ = std::fs::remove_dir_all(root().join(name));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tidy();
    }
}

/// Runs a line as engines do, by a shell that ends at the first failure.
pub fn shell(line: &str, variables: &[(&str, String)]) -> Ran {
    run(Command::new("bash").args(["-e", "-o", "pipefail", "-c", line]), variables)
}

/// Runs a command in the work tree.
pub fn run(command: &mut Command, variables: &[(&str, String)]) -> Ran {
    let quick = QUICK.map(|(name, value)| (name, value.to_owned()));
    let variables = quick.iter().chain(variables).map(|(name, value)| (*name, value.as_str()));
    for name in OF_THIS_ENGINE {
        command.env_remove(name);
    }
    let output =
        command.current_dir(root()).envs(variables).stdin(Stdio::null()).output().expect("it starts");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Ran { code: output.status.code().unwrap_or(-1), output: text.concat(), answer: text[0].clone() }
}

/// Copies a directory with everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in
        std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())).flatten()
    {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The results of a run.
pub fn results(dir: &Path) -> serde_json::Value {
    let path = dir.join("results.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}
