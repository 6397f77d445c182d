//! How a run ended, and which exit code follows from that and from the report.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde_json::json;

use super::nextest::{last_lines, log_path};
use super::scenarios::Tier;
use crate::error::{INTERRUPTED, SLOW, infrastructure};
use crate::terminal::say;

/// The file that says how the tests of a run ended. `conformance/src/report/test_runner.rs` reads
/// it.
const TESTS: &str = "tests.json";
/// Lines of nextest's log that are repeated when a run ends without a verdict.
const LOG_LINES: usize = 20;
/// How deep below a scenario's directory its result may lie: under an attempt, under a round.
const DEPTH: u32 = 3;

/// How the tests ran, apart from what they found.
#[derive(Default)]
pub struct Ending {
    /// Scenarios that must have left a result.
    pub expected: Vec<String>,
    /// Whether a person interrupted the run.
    pub interrupted: bool,
    /// A tier that nextest could not run.
    pub broken: Option<Tier>,
    /// Whether a test failed.
    pub failed: bool,
}

impl Ending {
    /// Notes in the run's directory how the tests ended, for its reports: a test that failed after
    /// its result has no verdict.
    pub fn note(&self, dir: &Utf8Path) -> Result<()> {
        let Self { interrupted, broken, failed, .. } = self;
        let ended = json!({"failed": failed, "broken": broken.is_some(), "interrupted": interrupted});
        let path = dir.join(TESTS);
        std::fs::write(&path, ended.to_string()).with_context(|| format!("tried to write {path}"))
    }

    /// The exit code. A good report never outweighs a test that failed or left no result.
    pub fn conclude(&self, out: &Utf8Path, report: u8) -> Result<u8> {
        if self.interrupted {
            say("Interrupted: the report is partial.");
            return Ok(INTERRUPTED);
        }
        if let Some(tier) = self.broken {
            return Err(with_log(out, &format!("nextest could not run the {} tier", tier.name())));
        }
        let silent: Vec<&str> = self
            .expected
            .iter()
            .map(String::as_str)
            .filter(|name| !has_result(&out.join(name), DEPTH))
            .collect();
        if !silent.is_empty() {
            return Err(with_log(out, &format!("These scenarios left no result: {}", silent.join(", "))));
        }
        if self.failed && matches!(report, 0 | SLOW) {
            return Err(with_log(out, "A test failed, although the report found no broken rule"));
        }
        Ok(report)
    }
}

fn with_log(out: &Utf8Path, line: &str) -> anyhow::Error {
    let log = log_path(out);
    infrastructure(format!("{line}. The end of {log}:\n{}", last_lines(&log, LOG_LINES).trim_end()))
}

/// Whether a scenario's directory holds a result: at its top, or under its attempts and rounds.
fn has_result(dir: &Utf8Path, depth: u32) -> bool {
    if dir.join("result.json").exists() {
        return true;
    }
    let Ok(entries) = dir.read_dir_utf8() else { return false };
    depth > 0 && entries.flatten().any(|entry| has_result(entry.path(), depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{INFRASTRUCTURE, code_of};

    fn concluded(report: u8, ending: &Ending, with_result: bool) -> Result<u8> {
        let scratch = tempfile::tempdir()?;
        let path = camino::Utf8PathBuf::try_from(scratch.path().to_owned())?;
        if with_result {
            std::fs::create_dir_all(path.join("a/attempt-1"))?;
            std::fs::write(path.join("a/attempt-1/result.json"), "{}")?;
        }
        ending.conclude(&path, report)
    }

    fn ending(change: impl FnOnce(&mut Ending)) -> Ending {
        let mut ending = Ending { expected: vec!["a".into()], ..Ending::default() };
        change(&mut ending);
        ending
    }

    #[test]
    fn a_run_notes_how_its_tests_ended() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = Utf8Path::from_path(scratch.path()).expect("a UTF-8 path");
        let noted = |ending: &Ending| {
            ending.note(dir).expect("written");
            let text = std::fs::read(dir.join(TESTS)).expect("it is there");
            serde_json::from_slice::<serde_json::Value>(&text).expect("JSON")
        };
        let well = json!({"failed": false, "broken": false, "interrupted": false});
        assert_eq!(noted(&ending(|_| ())), well);
        let badly = json!({"failed": true, "broken": true, "interrupted": true});
        let all =
            |end: &mut Ending| (end.failed, end.broken, end.interrupted) = (true, Some(Tier::Real), true);
        assert_eq!(noted(&ending(all)), badly);
    }

    #[test]
    fn the_report_decides_where_the_tests_agree() {
        assert_eq!(concluded(0, &ending(|_| ()), true).ok(), Some(0));
        assert_eq!(concluded(SLOW, &ending(|_| ()), true).ok(), Some(SLOW));
        assert_eq!(concluded(1, &ending(|end| end.failed = true), true).ok(), Some(1));
        assert_eq!(concluded(3, &ending(|end| end.failed = true), true).ok(), Some(3));
        assert_eq!(concluded(0, &ending(|end| end.interrupted = true), false).ok(), Some(INTERRUPTED));
    }

    #[test]
    fn a_good_report_does_not_hide_a_failed_test_or_a_missing_result() {
        for report in [0, SLOW] {
            for (ending, with_result) in [
                (ending(|_| ()), false),
                (ending(|end| end.failed = true), true),
                (ending(|end| end.broken = Some(Tier::Real)), true),
            ] {
                let error = concluded(report, &ending, with_result).expect_err("no verdict");
                assert_eq!(code_of(&error), INFRASTRUCTURE, "{error}");
            }
        }
    }
}
