//! The command `fuzz`: runs the fuzz targets, each with its committed inputs and those that earlier
//! runs found.
//!
//! cargo-fuzz builds them with a stable compiler and without a sanitizer: the targets are Rust
//! without `unsafe`, so a panic, a hang and a claim of memory are what can go wrong.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::checks::tools::{FUZZ, require};
use crate::cli::FuzzArgs;
use crate::error::usage;
use crate::terminal::say;

/// A fuzz target.
struct Target {
    name: &'static str,
    /// The crate in whose folder `fuzz` it lies.
    dir: &'static str,
    /// Most bytes of an input.
    longest: u32,
}

const fn target(name: &'static str, dir: &'static str, longest: u32) -> Target {
    Target { name, dir, longest }
}

const TARGETS: [Target; 14] = [
    target("write_log", "harness", 32 << 10),
    target("qcow2", "harness", 40 << 10),
    target("oracle", "harness", 2 << 10),
    target("witness_lines", "images/witness", 2 << 10),
    target("ledger", "images/witness", 64),
    target("agent_lines", "images/agent", 1 << 10),
    target("nbd_server", "adapters/nbd-server", 4 << 10),
    target("fat", "adapters/fatdiff", 8 << 10),
    target("windows_volume", "adapters/windows-volume", 4 << 10),
    target("messages", "adapters/wire", 8 << 10),
    target("vhd", "adapters/standins", 1 << 10),
    target("landing_log", "replication", 4 << 10),
    target("evidence", "conformance", 24 << 10),
    target("packs", "conformance", 8 << 10),
];

/// Seconds after which libFuzzer calls an input a hang. Each target bounds its processor time to
/// one second by itself; this finds one that waits, also on a busy machine.
const HANGS_AFTER: u32 = 20;

/// Runs the targets one after the other. Returns 1 if one failed.
pub fn command(root: &Utf8Path, arguments: &FuzzArgs) -> Result<u8> {
    let unknown = |name: &&String| !TARGETS.iter().any(|target| target.name == **name);
    if let Some(name) = arguments.targets.iter().find(unknown) {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        return Err(usage(format!("There is no fuzz target {name}; there are {}.", names.join(", "))));
    }
    require(&FUZZ, root, arguments.consent.yes)?;
    let chosen = |target: &&Target| {
        arguments.targets.is_empty() || arguments.targets.iter().any(|name| name == target.name)
    };
    let mut failed = 0;
    for target in TARGETS.iter().filter(chosen) {
        let passed = target.run(root, arguments.seconds)?;
        say(format!("{} {}", if passed { "✓" } else { "✗" }, target.name));
        failed += u32::from(!passed);
    }
    Ok(u8::from(failed > 0))
}

impl Target {
    /// The inputs that are committed.
    fn committed(&self, root: &Utf8Path) -> Utf8PathBuf {
        root.join(self.dir).join("fuzz/corpus").join(self.name)
    }

    /// Runs the target. What it finds goes below the build directory, so that only a person adds to
    /// the committed inputs. Returns whether it passed.
    fn run(&self, root: &Utf8Path, seconds: u32) -> Result<bool> {
        let work = root.join("target/fuzz");
        let found = work.join("corpus").join(self.name);
        std::fs::create_dir_all(&found).with_context(|| format!("make {found}"))?;
        let artifacts = work.join("artifacts").join(self.name);
        std::fs::create_dir_all(&artifacts).with_context(|| format!("make {artifacts}"))?;
        let mut fuzz: Command = FUZZ.command(root);
        fuzz.args(["run", "--sanitizer", "none", "--fuzz-dir"]);
        fuzz.arg(root.join(self.dir).join("fuzz")).arg("--target-dir").arg(&work);
        fuzz.args([self.name, found.as_str(), self.committed(root).as_str(), "--"]);
        fuzz.arg(format!("-artifact_prefix={artifacts}/")).arg(format!("-max_total_time={seconds}"));
        fuzz.arg(format!("-max_len={}", self.longest)).arg(format!("-timeout={HANGS_AFTER}"));
        fuzz.args(["-rss_limit_mb=1024", "-print_final_stats=1"]);
        let status = fuzz.stdin(Stdio::null()).status().context("tried to start cargo fuzz")?;
        Ok(status.success())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_has_every_target_and_each_has_committed_inputs() {
        let root = crate::cargo::workspace().expect("the repository");
        let dirs: BTreeSet<_> = TARGETS.iter().map(|target| target.dir).collect();
        for dir in dirs {
            let programs = root.join(dir).join("fuzz/fuzz_targets").read_dir_utf8().expect("targets");
            let programs = programs.map(|entry| entry.expect("a target").file_name().replace(".rs", ""));
            let listed =
                TARGETS.iter().filter(|target| target.dir == dir).map(|target| target.name.to_owned());
            assert_eq!(programs.collect::<BTreeSet<_>>(), listed.collect(), "{dir}");
        }
        for target in &TARGETS {
            let folder = target.committed(&root);
            let inputs = folder.read_dir_utf8().unwrap_or_else(|error| panic!("{folder}: {error}"));
            let bytes: Vec<u64> =
                inputs.map(|input| input.expect("an input").metadata().expect("a file").len()).collect();
            assert!(bytes.len() > 2, "{folder} has {} inputs", bytes.len());
            assert!(bytes.iter().sum::<u64>() <= 128 << 10, "{folder} is too large to be committed");
            assert!(bytes.iter().all(|bytes| *bytes <= u64::from(target.longest)), "{folder}");
        }
    }
}
