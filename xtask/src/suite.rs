//! The suite's own binary. It links libvirt, so this program builds and runs it and never links it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::cargo::{SELECTION, build, cargo};
use crate::error::{INFRASTRUCTURE, USAGE, infrastructure, usage};
use crate::hold::held;
use crate::setup::plan::Survey;
use crate::setup::{Changes, daemon};
use crate::system::LiveSystem;

const BINARY: &str = "roundtrip-suite";
/// Tells the suite from where relative paths in `--core` are meant.
pub const CORE_DIR: &str = "ROUNDTRIP_CORE_DIR";
/// The exit code of the argument parser for an argument that it does not know.
const PARSER_USAGE: u8 = 2;

/// Variables that say which guests a suite runs, and where.
pub type Guests = [(&'static str, Option<String>); 2];

/// The suite's binary, built.
pub struct Suite {
    path: Utf8PathBuf,
    root: Utf8PathBuf,
    uri: String,
    /// Hash of the guest image; `None`: the current one of the cache.
    image: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    executable: Option<Utf8PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The path of the binary, from one line of cargo's report about a build.
fn executable(line: &str) -> Option<Utf8PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    // The unit tests of the binary carry the same name and kind.
    let is_binary =
        target.name == BINARY && target.kind.iter().any(|kind| kind == "bin") && !message.profile?.test;
    is_binary.then_some(message.executable)?
}

impl Suite {
    /// Builds the suite's binary and the tests of both tiers.
    pub fn build(root: &Utf8Path, uri: &str) -> Result<Self> {
        Self::build_as(root, uri, &["--test", "real", "--test", "sim"])
    }

    /// Builds the suite's binary alone.
    pub fn build_binary(root: &Utf8Path, uri: &str) -> Result<Self> {
        Self::build_as(root, uri, &[])
    }

    /// Builds the suite's binary and the program of the built-in core with all optimisations, for
    /// measurements.
    pub fn build_fast(root: &Utf8Path, uri: &str) -> Result<Self> {
        Self::build_as(root, uri, &["--release", "--bin", "roundtrip-core"])
    }

    /// Builds the suite for a command that starts no guest, and refuses if packages are missing. No
    /// libvirt daemon need run: none does in a container that only makes a report.
    pub fn without_guests(root: &Utf8Path) -> Result<Self> {
        Self::if_set_up(root, Survey::of(&LiveSystem).is_complete())
    }

    /// Builds the suite for a command that looks for guests, and refuses if set-up is needed first.
    pub fn on_ready_machine(root: &Utf8Path) -> Result<Self> {
        Self::if_set_up(root, Changes::find(&LiveSystem, root)?.is_empty())
    }

    fn if_set_up(root: &Utf8Path, ready: bool) -> Result<Self> {
        if !ready {
            return Err(infrastructure(
                "This machine is not set up: run `cargo xtask setup`, then this again.",
            ));
        }
        Self::build(root, daemon::uri(&LiveSystem))
    }

    /// The same suite at another libvirt.
    pub fn at(self, uri: &str) -> Self {
        Self { uri: uri.to_owned(), ..self }
    }

    fn build_as(root: &Utf8Path, uri: &str, how: &[&str]) -> Result<Self> {
        let mut command = cargo(root);
        command.arg("build").args(SELECTION).args(["--bin", BINARY]).args(how);
        command.arg("--message-format=json-render-diagnostics");
        let report = build("build the suite", &mut command)?;
        let path = report.iter().filter_map(|line| executable(line)).next_back();
        let path =
            path.ok_or_else(|| infrastructure(format!("cargo built no `{BINARY}`: is this tree complete?")))?;
        Ok(Self { path, root: root.to_owned(), uri: uri.to_owned(), image: None })
    }

    /// The same suite with this guest image, also if another checkout makes its own the current one
    /// of the cache meanwhile.
    pub fn with_image(self, hash: String) -> Self {
        Self { image: Some(hash), ..self }
    }

    /// The variables that say which guests it runs, and where.
    pub fn guests(&self) -> Guests {
        [("ROUNDTRIP_CONNECT", Some(self.uri.clone())), ("ROUNDTRIP_IMAGE", self.image.clone())]
    }

    /// The same suite as a copy in a directory, which later builds do not change.
    pub fn kept_in(self, dir: &Utf8Path) -> Result<Self> {
        let path = dir.join(BINARY);
        std::fs::copy(&self.path, &path).with_context(|| format!("copy the suite to {path}"))?;
        Ok(Self { path, ..self })
    }

    /// A command of the suite's binary, which ends with this process.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = held(&self.path);
        command
            .args(arguments)
            .envs(self.guests().into_iter().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(&self.root)
            .stdin(Stdio::null());
        if let Ok(dir) = std::env::current_dir() {
            command.env(CORE_DIR, dir);
        }
        command
    }

    /// Runs a command of the suite that either succeeds or says in one line why not.
    pub fn must(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(arguments).stdout(Stdio::inherit()).stderr(Stdio::piped()).output()?;
        let message = String::from_utf8_lossy(&output.stderr);
        let message = message.trim();
        match output.status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(0) => {
                if !message.is_empty() {
                    eprintln!("{message}");
                }
                Ok(())
            }
            Some(USAGE | PARSER_USAGE) => Err(usage(message)),
            Some(INFRASTRUCTURE) if !message.is_empty() => Err(infrastructure(message)),
            _ => Err(infrastructure(format!(
                "`{BINARY} {}` ended with {}: {message}",
                arguments.join(" "),
                output.status,
            ))),
        }
    }

    /// Runs a command of the suite whose exit code is a verdict, and shows its output.
    pub fn verdict(&self, arguments: &[&str]) -> Result<u8> {
        let status = self.command(arguments).status()?;
        // A binary that a signal ended has reached no verdict.
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(INFRASTRUCTURE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_in_cargos_report() {
        let line = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"roundtrip-suite"},"profile":{"opt_level":"1","test":false},"executable":"/t/debug/roundtrip-suite","fresh":true}"#;
        assert_eq!(executable(line).as_deref(), Some(Utf8Path::new("/t/debug/roundtrip-suite")));
        assert_eq!(executable(&line.replace("\"test\":false", "\"test\":true")), None);
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
