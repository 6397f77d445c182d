//! The checks that run before the real cycle, as a table.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use camino::Utf8Path;

use super::counts::TestCounts;
use super::tools::{
    self, ACTIONLINT, AXE, CHROMIUM, DENY, KUBERNETES_SCHEMAS, NODE, SCHEMAS, SHELLCHECK, TYPOS, Tool,
};
use crate::cargo::cargo;
use crate::process::wait_bounded;
use crate::terminal::say;

/// How long fetching the database of known vulnerabilities may take.
const FETCH: Duration = Duration::from_secs(120);

/// One check.
pub struct Check {
    /// Its name on the screen.
    pub name: &'static str,
    work: Work,
}

/// What a check runs.
enum Work {
    /// A cargo command that counts as one test.
    Cargo(&'static [&'static str]),
    /// A cargo command that prints how many tests passed and failed.
    Tests(&'static [&'static str]),
    /// A program that counts as one test.
    Program(&'static [&'static str]),
    /// The documentation, with warnings as errors.
    Documentation,
    /// The spelling of all files.
    Spelling,
    /// A cargo command that prints how many tests passed and failed, and what it needs.
    TestsWith(&'static [&'static Tool], &'static [&'static str]),
    /// Licences, sources and versions of dependencies, and known vulnerabilities where their
    /// database is in reach.
    Dependencies,
}

/// The checks, cheap ones first. The tiers of the suite are excluded: their tests need a run
/// directory.
pub const CHECKS: &[Check] = &[
    Check { name: "formatting", work: Work::Cargo(&["fmt", "--all", "--check"]) },
    Check { name: "spelling", work: Work::Spelling },
    Check { name: "dependencies", work: Work::Dependencies },
    Check {
        name: "lints",
        work: Work::Cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    Check {
        name: "lints of the guest's programs",
        work: Work::Cargo(&[
            "clippy",
            "--quiet",
            "--package",
            "witness",
            "--package",
            "agent",
            "--features",
            "witness/guest,agent/guest",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    },
    Check { name: "documentation", work: Work::Documentation },
    Check {
        name: "types of the Python SDK",
        work: Work::Program(&[
            "mypy",
            "--config-file",
            "adapters/python/mypy.ini",
            "adapters/python",
            "adapters/backy2/core.py",
            "adapters/virtnbdbackup/killed_backup.py",
        ]),
    },
    // A module of its own, because both products have a `core.py`.
    Check {
        name: "types of the core around virtnbdbackup",
        work: Work::Program(&[
            "mypy",
            "--config-file",
            "adapters/python/mypy.ini",
            "adapters/virtnbdbackup/core.py",
        ]),
    },
    Check {
        name: "tests of the Python SDK",
        work: Work::Program(&["python3", "-B", "-m", "unittest", "discover", "-s", "adapters/python/tests"]),
    },
    Check {
        name: "unit and property tests",
        work: Work::Tests(&[
            "nextest",
            "run",
            "--workspace",
            "--no-fail-fast",
            "--status-level",
            "fail",
            "--final-status-level",
            "fail",
            "-E",
            "not (package(conformance) & (binary(=real) | binary(=sim)))",
        ]),
    },
    Check {
        name: "the report in a browser",
        work: Work::TestsWith(
            &[&CHROMIUM, &AXE],
            &[
                "nextest",
                "run",
                "--workspace",
                "--run-ignored",
                "only",
                "-E",
                "package(conformance) & test(in_a_browser)",
            ],
        ),
    },
    Check {
        name: "files of continuous integration",
        work: Work::TestsWith(
            &[&SCHEMAS, &KUBERNETES_SCHEMAS, &NODE, &ACTIONLINT, &SHELLCHECK],
            &[
                "nextest",
                "run",
                "--workspace",
                "--run-ignored",
                "only",
                "-E",
                "package(xtask) & test(/lint$/)",
            ],
        ),
    },
    Check {
        name: "steps of continuous integration, rehearsed",
        work: Work::Tests(&[
            "nextest",
            "run",
            "--workspace",
            "--run-ignored",
            "only",
            "-E",
            "package(xtask) & test(/rehearsed$/)",
        ]),
    },
    Check {
        name: "kills of the suite's processes",
        work: Work::Cargo(&["xtask", "torture", "--kills", "4", "--scenario", "sim-vmware-azure"]),
    },
    Check { name: "runs that lack something", work: Work::Cargo(&["xtask", "exhaust", "--short"]) },
    Check {
        name: "many cycles, judged for growth",
        work: Work::Cargo(&["xtask", "soak", "--cycles", "300"]),
    },
    Check {
        name: "examples in the documentation",
        work: Work::Tests(&["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"]),
    },
];

impl Check {
    /// Runs the check, with its output shown.
    pub fn run(&self, root: &Utf8Path) -> Result<TestCounts> {
        match self.work {
            Work::Cargo(arguments) => passes(cargo(root).args(arguments)),
            Work::Tests(arguments) => count(cargo(root).args(arguments)),
            Work::Program(command) => passes(Command::new(command[0]).args(&command[1..]).current_dir(root)),
            Work::TestsWith(tools, arguments) => {
                tools::if_all_installed(tools, root, || count(cargo(root).args(arguments)))
            }
            Work::Documentation => documentation(root),
            Work::Spelling => tools::if_installed(&TYPOS, root, |typos| passes(typos.arg("--quiet"))),
            Work::Dependencies => tools::if_installed(&DENY, root, |_| dependencies(root)),
        }
    }
}

/// Runs a command that counts as one test.
fn passes(command: &mut Command) -> Result<TestCounts> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("tried to start {:?}", command.get_program()))?;
    Ok(TestCounts::of_one(status.success()))
}

fn documentation(root: &Utf8Path) -> Result<TestCounts> {
    let arguments = ["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"];
    passes(cargo(root).args(arguments).env("RUSTDOCFLAGS", "-Dwarnings"))
}

fn dependencies(root: &Utf8Path) -> Result<TestCounts> {
    let deny = |arguments: &[&str]| {
        let mut command = cargo(root);
        command.args(["deny", "--log-level", "error"]).args(arguments);
        command
    };
    let mut counts = passes(&mut deny(&["check", "licenses", "bans", "sources"]))?;
    if succeeds_within(&mut deny(&["fetch", "db"]), FETCH)? {
        counts.add(passes(&mut deny(&["--offline", "check", "advisories"]))?);
    } else {
        say("  known vulnerabilities are not checked: their database cannot be fetched from here");
    }
    Ok(counts)
}

/// Whether a command succeeds within a bound. Its output is not shown, and a command that takes
/// longer is killed.
fn succeeds_within(command: &mut Command, bound: Duration) -> Result<bool> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().context("tried to start cargo")?;
    let status = wait_bounded(&mut child, bound)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(status.is_some_and(|status| status.success()))
}

/// Runs a command that prints how many tests passed and failed.
fn count(command: &mut Command) -> Result<TestCounts> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("tried to start cargo")?;
    let errors = child.stderr.take().context("cargo has no standard error")?;
    let output = child.stdout.take().context("cargo has no standard output")?;
    let (output, errors) = std::thread::scope(|scope| {
        let output = scope.spawn(|| shown(output, std::io::stdout()));
        (shown(errors, std::io::stderr()), output.join().unwrap_or_default())
    });
    let success = child.wait()?.success();
    let counts = TestCounts::of_lines(output.iter().chain(&errors).map(String::as_str));
    // A command that printed no summary, or that failed without a failed test, is still a failure.
    Ok(counts.filter(|counts| success || counts.failed > 0).unwrap_or(TestCounts::of_one(false)))
}

/// Passes lines on and keeps them.
fn shown(stream: impl Read, mut to: impl Write) -> Vec<String> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let pass_on = |line: &String| {
        // A closed terminal is no reason to stop counting.
        let _ = writeln!(to, "{line}");
    };
    lines.inspect(pass_on).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(script: &str) -> TestCounts {
        count(Command::new("sh").args(["-c", script])).expect("sh runs")
    }

    #[test]
    fn a_command_that_fails_or_takes_too_long_does_not_succeed() {
        let within = |script: &str, bound| {
            succeeds_within(Command::new("sh").args(["-c", script]), bound).expect("sh runs")
        };
        assert!(within("exit 0", Duration::from_secs(60)));
        assert!(!within("exit 1", Duration::from_secs(60)));
        assert!(!within("exec sleep 30", Duration::from_millis(50)));
    }

    #[test]
    fn a_run_is_counted_on_either_stream() {
        let passed = TestCounts { passed: 2, failed: 0 };
        assert_eq!(counted("echo 'test result: ok. 2 passed; 0 failed'"), passed);
        assert_eq!(counted("echo 'Summary [ 1s] 2 tests run: 2 passed, 0 skipped' >&2"), passed);
    }

    #[test]
    fn a_run_that_failed_without_a_failed_test_is_a_failure() {
        let failed = TestCounts::of_one(false);
        assert_eq!(counted("echo 'test result: ok. 2 passed; 0 failed'; exit 1"), failed);
        assert_eq!(counted("true"), failed);
        let with_failed_test = counted("echo 'test result: FAILED. 2 passed; 1 failed'; exit 101");
        assert_eq!(with_failed_test, TestCounts { passed: 2, failed: 1 });
    }
}
