//! The command `sanitize`: runs the tests of the crates that have `unsafe` under a sanitizer, which
//! finds accesses to memory that is not theirs, or no longer, and memory that is never freed.
//!
//! The stable toolchain contains the sanitizer's runtime. The flag that links it is not stable, so
//! the compiler is told to accept it; no other unstable feature is used.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use crate::cargo::cargo;
use crate::cli::Consent;
use crate::setup;
use crate::terminal::say;

/// Where the instrumented crates are built. It is removed afterwards.
const BUILDS: &str = "target/sanitize";
/// With a target named, build scripts and macros are built as usual and run without the sanitizer.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The crates with `unsafe`, and the features that their tests need.
const CRATES: [(&str, &[&str]); 2] = [("nbd", &[]), ("agent", &["--features", "guest"])];

/// Runs the tests. Returns 1 if one failed or something was found.
pub fn command(root: &Utf8Path, consent: &Consent) -> Result<u8> {
    setup::ensure(root, consent.yes)?;
    let mut failed = 0;
    for (name, features) in CRATES {
        let mut tests = tests(root, name, features);
        let status = tests.stdin(Stdio::null()).status().context("tried to start cargo")?;
        say(format!("{} {name}", if status.success() { "✓" } else { "✗" }));
        failed += u32::from(!status.success());
    }
    let builds = root.join(BUILDS);
    std::fs::remove_dir_all(&builds).with_context(|| format!("tried to remove {builds}"))?;
    Ok(u8::from(failed > 0))
}

fn tests(root: &Utf8Path, name: &str, features: &[&str]) -> Command {
    let mut command = cargo(root);
    command.args(["test", "--package", name, "--all-targets", "--target", TARGET]).args(features);
    command.arg("--target-dir").arg(root.join(BUILDS));
    // Shuttle frees nothing of an execution that fails, as those of the broken copies have to. The
    // models reach no `unsafe` of ours.
    command.args(["--", "--skip", "models::"]);
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    command.env("ASAN_OPTIONS", "detect_stack_use_after_return=1");
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_crate_that_allows_unsafe_code_is_tested() {
        let root = crate::cargo::workspace().expect("the repository");
        let output = Command::new("git")
            .args(["-C", root.as_str(), "grep", "-l", "^#!\\[expect(unsafe_code)", "--", "*.rs"])
            .output()
            .expect("git runs");
        let files = String::from_utf8(output.stdout).expect("paths");
        let crates: BTreeSet<_> =
            files.lines().filter_map(|file| Utf8Path::new(file).parent()?.parent()?.file_name()).collect();
        assert_eq!(crates, CRATES.iter().map(|(name, _)| *name).collect());
    }
}
