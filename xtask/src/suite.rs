//! The suite's own binary: it links libvirt, so it is built here and run, never linked.

use std::process::{Command, Stdio};

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::error::{infrastructure, usage};
use crate::run::{cargo, quietly_read};

const BINARY: &str = "roundtrip-suite";
/// The exit code by which the suite's binary says that this host cannot do what was asked.
const CANNOT: i32 = 3;
/// The exit code by which it says that a word of the caller's is wrong.
const MISUSED: i32 = 2;

/// The suite's binary, built.
pub struct Suite {
    path: Utf8PathBuf,
    root: Utf8PathBuf,
    uri: String,
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

/// The path of the binary in what cargo reports about a build.
fn executable(line: &str) -> Option<Utf8PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    // The binary's own unit tests bear its name and kind.
    let itself =
        target.name == BINARY && target.kind.iter().any(|kind| kind == "bin") && !message.profile?.test;
    itself.then_some(message.executable)?
}

impl Suite {
    /// Builds the suite and its tests together: apart, cargo would choose other features and build twice.
    pub fn build(root: &Utf8Path, uri: &str) -> Result<Self> {
        Self::build_as(root, uri, &["--bins", "--tests"])
    }

    /// Builds it as fast as it gets, for measurements.
    pub fn build_fast(root: &Utf8Path, uri: &str) -> Result<Self> {
        Self::build_as(root, uri, &["--bins", "--release"])
    }

    fn build_as(root: &Utf8Path, uri: &str, how: &[&str]) -> Result<Self> {
        let mut command = cargo(root);
        command.args(["build", "-p", "conformance", "--message-format=json-render-diagnostics"]).args(how);
        let report = quietly_read("build the suite", &mut command)?;
        let path = report.iter().filter_map(|line| executable(line)).next_back();
        let path =
            path.ok_or_else(|| infrastructure(format!("cargo built no `{BINARY}`: is this tree complete?")))?;
        Ok(Self { path, root: root.to_owned(), uri: uri.to_owned() })
    }

    /// A command of the suite's binary.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .env("ROUNDTRIP_CONNECT", &self.uri)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command
    }

    /// Runs one that either succeeds or says in one line why not.
    pub fn must(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(arguments).stdout(Stdio::inherit()).stderr(Stdio::piped()).output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                eprint!("{words}");
                Ok(())
            }
            Some(MISUSED) => Err(usage(words.trim())),
            Some(CANNOT) if !words.trim().is_empty() => Err(infrastructure(words.trim())),
            _ => Err(infrastructure(format!(
                "`{BINARY} {}` ended with {}: {}",
                arguments.join(" "),
                output.status,
                words.trim()
            ))),
        }
    }

    /// Runs one whose exit code is a verdict, its output shown.
    pub fn verdict(&self, arguments: &[&str]) -> Result<u8> {
        let status = self.command(arguments).status()?;
        // Ended by a signal: no verdict.
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::error::INFRASTRUCTURE))
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
