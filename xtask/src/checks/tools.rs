//! The programs that only `cargo xtask test` needs: found, or installed with consent.

use std::process::{Command, Stdio};

use anyhow::Result;
use camino::Utf8Path;

use super::counts::TestCounts;
use crate::cargo::{cargo, install_dir};
use crate::process::quietly;
use crate::setup;
use crate::terminal::say;

/// A program, how to call it, and how to install it.
pub struct Tool {
    /// Its name on the screen.
    name: &'static str,
    call: Call,
    /// The command that installs it.
    install: &'static [&'static str],
    /// Whether installing it compiles many crates.
    compiles: bool,
}

enum Call {
    /// As a subcommand of cargo.
    Cargo(&'static str),
    /// As a program on the path or where cargo installs programs.
    Program(&'static str),
}

/// The spelling checker.
pub const TYPOS: Tool = Tool {
    name: "typos",
    call: Call::Program("typos"),
    install: &["cargo", "install", "--locked", "--debug", "typos-cli"],
    compiles: true,
};

/// The checker of licences and sources.
pub const DENY: Tool = Tool {
    name: "cargo-deny",
    call: Call::Cargo("deny"),
    install: &["cargo", "install", "--locked", "--debug", "cargo-deny"],
    compiles: true,
};

const RUSTFMT: Tool = Tool {
    name: "rustfmt",
    call: Call::Cargo("fmt"),
    install: &["rustup", "component", "add", "rustfmt"],
    compiles: false,
};

const CLIPPY: Tool = Tool {
    name: "clippy",
    call: Call::Cargo("clippy"),
    install: &["rustup", "component", "add", "clippy"],
    compiles: false,
};

/// All of them, in the order in which they are installed.
const TOOLS: [&Tool; 4] = [&RUSTFMT, &CLIPPY, &TYPOS, &DENY];

impl Tool {
    fn command(&self, root: &Utf8Path) -> Command {
        match self.call {
            Call::Cargo(subcommand) => {
                let mut command = cargo(root);
                command.arg(subcommand);
                command
            }
            Call::Program(name) => {
                let installed = install_dir().map(|dir| dir.join(name)).filter(|path| path.exists());
                let mut command = Command::new(installed.map_or(name.to_owned(), |path| path.to_string()));
                command.current_dir(root);
                command
            }
        }
    }

    fn is_installed(&self, root: &Utf8Path) -> bool {
        let answer = self.command(root).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        answer.is_ok_and(|status| status.success())
    }

    fn install_line(&self) -> String {
        let duration = if self.compiles { " (takes a few minutes)" } else { "" };
        format!("{}{duration}", self.install.join(" "))
    }

    fn install(&self, root: &Utf8Path) -> Result<()> {
        let (program, arguments) = self.install.split_first().unwrap_or((&"true", &[]));
        let mut command = if *program == "cargo" { cargo(root) } else { Command::new(program) };
        quietly(&format!("install {}", self.name), command.current_dir(root).args(arguments))
    }
}

/// Installs what is missing. A program that cannot be installed fails only the check that needs it, later and with the
/// command to run by hand.
pub fn ensure(root: &Utf8Path, yes: bool) -> Result<()> {
    let missing: Vec<&Tool> = TOOLS.into_iter().filter(|tool| !tool.is_installed(root)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say("The checks need more tools. This will run:");
    missing.iter().for_each(|tool| say(format!("  - {}", tool.install_line())));
    setup::consent(yes)?;
    for tool in missing {
        if let Err(error) = tool.install(root) {
            say(format!("{error:#}"));
        }
    }
    Ok(())
}

/// Runs a check that needs a tool. Without the tool the check fails: one that is left out proves nothing.
pub fn if_installed(
    tool: &Tool,
    root: &Utf8Path,
    check: impl FnOnce(&mut Command) -> Result<TestCounts>,
) -> Result<TestCounts> {
    if tool.is_installed(root) {
        return check(&mut tool.command(root));
    }
    say(format!("  {} is not installed: run `{}`", tool.name, tool.install.join(" ")));
    Ok(TestCounts::of_one(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Tool = Tool {
        name: "nothing",
        call: Call::Program("roundtrip-no-such-tool"),
        install: &["false"],
        compiles: true,
    };

    #[test]
    fn a_check_without_its_tool_fails() {
        let root = Utf8Path::new(".");
        let counts = if_installed(&MISSING, root, |_| Ok(TestCounts::of_one(true))).expect("no error");
        assert_eq!(counts, TestCounts::of_one(false));
        assert!(MISSING.install(root).is_err());
    }

    #[test]
    fn a_tool_is_found_by_its_version() {
        let cargo = Tool { call: Call::Program("cargo"), ..MISSING };
        assert!(cargo.is_installed(Utf8Path::new(".")));
        assert!(!MISSING.is_installed(Utf8Path::new(".")));
    }
}
