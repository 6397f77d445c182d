//! What the report says of a run whose tests ended otherwise than their results say.

use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde::Deserialize;

use crate::foreign_files;
use crate::outcome::{ScenarioOutcome, Verdict};

/// File in a run's directory that says how its tests ended. `cargo xtask` writes it before the
/// report. Runs of older suites and those that were started by hand lack it.
pub(crate) const TESTS: &str = "tests.json";

/// How the tests of a run ended, apart from what they found.
#[derive(Deserialize)]
struct Ended {
    failed: bool,
    broken: bool,
    interrupted: bool,
}

impl Ended {
    /// Why a pass of all scenarios is none; `None` if nothing speaks against it.
    fn objection(&self) -> Option<&'static str> {
        match self {
            Self { broken: true, .. } => Some("nextest could not run all tests"),
            Self { interrupted: true, .. } => Some("the run was interrupted"),
            Self { failed: true, .. } => Some("a test failed"),
            Self { .. } => None,
        }
    }
}

/// An unknown outcome, if the tests of the run in `dir` did not end well although every scenario
/// did: a test that ended after its result, for example because the host ran out of memory, has no
/// verdict.
///
/// # Errors
/// How the tests ended is stored and cannot be read.
pub(super) fn contradiction(
    dir: &Utf8Path,
    scenarios: &[ScenarioOutcome],
) -> Result<Option<ScenarioOutcome>> {
    let path = dir.join(TESTS);
    let ended: Ended = match foreign_files::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("understand {path}"))?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {path}")),
    };
    let verdict = Verdict::worst_of(scenarios.iter().map(|scenario| scenario.verdict));
    let (Some(objection), Some(first)) = (ended.objection(), scenarios.first()) else { return Ok(None) };
    if verdict != Verdict::Pass {
        return Ok(None);
    }
    let mut outcome = ScenarioOutcome::begun("test-runner", "The test runner of this run", None);
    outcome.profile.clone_from(&first.profile);
    outcome.why = format!("{objection}, although no result says so: see nextest.log");
    Ok(Some(outcome))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{collect, exit_code};
    use super::*;
    use crate::evidence::{RESULT, SEAL, STARTED};
    use crate::outcome::{HostFacts, Results};

    /// The results of a run of one scenario with this verdict, whose tests ended like this.
    fn collected(verdict: Verdict, slow: bool, ended: Option<&serde_json::Value>) -> Results {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let mut outcome = ScenarioOutcome::begun("a", "", None);
        (outcome.verdict, outcome.profile) = (verdict, "asr-2024".to_owned());
        outcome.slow.extend(slow.then(|| "9 boots".to_owned()));
        let text = serde_json::to_vec(&outcome).unwrap();
        let seal = json!({"result": blake3::hash(&text).to_string()});
        std::fs::create_dir(dir.join("a")).unwrap();
        std::fs::write(dir.join("a").join(STARTED), json!({"scenario": "a"}).to_string()).unwrap();
        std::fs::write(dir.join("a").join(SEAL), seal.to_string()).unwrap();
        std::fs::write(dir.join("a").join(RESULT), text).unwrap();
        ended.map_or(Ok(()), |ended| std::fs::write(dir.join(TESTS), ended.to_string())).unwrap();
        collect(dir, HostFacts::default()).unwrap()
    }

    fn ended(failed: bool, broken: bool, interrupted: bool) -> serde_json::Value {
        json!({"failed": failed, "broken": broken, "interrupted": interrupted})
    }

    #[test]
    fn results_that_pass_are_no_pass_of_tests_that_did_not_end_well() {
        for (ended, why) in [
            (ended(true, false, false), "a test failed"),
            (ended(true, true, false), "nextest could not run"),
            (ended(true, false, true), "interrupted"),
        ] {
            for slow in [false, true] {
                let results = collected(Verdict::Pass, slow, Some(&ended));
                assert_eq!(results.verdict, Verdict::Unknown);
                assert_eq!(exit_code(results.verdict, slow), 3);
                let outcome = results.scenarios.iter().find(|scenario| scenario.name == "test-runner");
                assert!(outcome.is_some_and(|outcome| outcome.why.contains(why)), "{outcome:?}");
                assert_eq!(results.profile, "asr-2024");
            }
        }
    }

    #[test]
    fn tests_that_ended_as_their_results_say_need_no_word() {
        for (verdict, ended) in [
            (Verdict::Pass, Some(ended(false, false, false))),
            (Verdict::Pass, None),
            (Verdict::Fail, Some(ended(true, false, false))),
            (Verdict::Unknown, Some(ended(true, false, true))),
        ] {
            let results = collected(verdict, false, ended.as_ref());
            assert_eq!((results.verdict, results.scenarios.len()), (verdict, 1));
        }
    }

    #[test]
    fn an_end_that_cannot_be_understood_is_no_pass() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::write(dir.join(TESTS), "{}").unwrap();
        assert!(contradiction(dir, &[]).is_err());
    }
}
