//! What the results of a killed run say: never a pass of what did not run, never a failure of a
//! core that was not killed.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde::Deserialize;

use crate::error::SLOW;

/// What a failure says if the core was killed.
const KILLED: &str = "killed by signal 9";

/// The part of `results.json` that a campaign looks at.
#[derive(Debug, Deserialize)]
struct Results {
    verdict: String,
    scenarios: Vec<ScenarioResult>,
}

#[derive(Debug, Deserialize)]
struct ScenarioResult {
    name: String,
    verdict: String,
    why: String,
}

/// How a run ended, and what was said about it afterwards. Each is an exit code.
pub struct Codes {
    /// Of the run; none if it was killed itself.
    pub run: Option<i32>,
    /// Of `report`.
    pub report: i32,
    /// Of `recheck`.
    pub recheck: i32,
}

/// Whether the run in `out` got far enough to have results.
pub fn began(out: &Utf8Path) -> bool {
    out.join("asked.json").exists()
}

/// Whether an exit code says that the core conforms.
pub fn good(code: i32) -> bool {
    code == 0 || code == i32::from(SLOW)
}

fn read<T: for<'a> Deserialize<'a>>(path: &Utf8Path) -> Result<T> {
    let text = std::fs::read(path).with_context(|| format!("tried to read {path}"))?;
    serde_json::from_slice(&text).with_context(|| format!("tried to understand {path}"))
}

/// The verdict of the run in `out`, and what is wrong about it. Only a core that was killed may be
/// blamed.
pub fn judge(out: &Utf8Path, core_killed: bool, codes: &Codes) -> Result<(String, Vec<String>)> {
    let asked: Vec<String> = read(&out.join("asked.json"))?;
    let results: Results = read(&out.join("results.json"))?;
    let ended: Vec<String> =
        asked.iter().filter(|name| out.join(name).join("result.json").exists()).cloned().collect();
    let wrong = wrong(&asked, &ended, &results, core_killed, codes);
    Ok((results.verdict, wrong))
}

/// The scenarios of the run in `out` that have left no result so far.
pub fn unfinished(out: &Utf8Path) -> Vec<String> {
    let asked: Vec<String> = read(&out.join("asked.json")).unwrap_or_default();
    asked.into_iter().filter(|name| !out.join(name).join("result.json").exists()).collect()
}

/// What is wrong about scenarios from which something was taken away that each of them needs up to
/// its end: all have to be unknown.
pub fn must_be_unknown(out: &Utf8Path, names: &[String]) -> Result<Vec<String>> {
    let results: Results = read(&out.join("results.json"))?;
    Ok(decided(&results, names))
}

fn decided(results: &Results, names: &[String]) -> Vec<String> {
    let of = |name: &String| results.scenarios.iter().find(|one| one.name == *name);
    let decided = names.iter().filter_map(of).filter(|one| one.verdict != "unknown");
    decided.map(|one| format!("{} ends as {}, and must be unknown", one.name, one.verdict)).collect()
}

fn wrong(
    asked: &[String],
    ended: &[String],
    results: &Results,
    core_killed: bool,
    codes: &Codes,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let all_ended = asked.len() == ended.len();
    for name in asked {
        match results.scenarios.iter().find(|one| one.name == *name) {
            None => wrong.push(format!("the results do not name {name}")),
            Some(one) if one.verdict == "pass" && !ended.contains(name) => {
                wrong.push(format!("{name} passes and left no result"));
            }
            Some(one) if one.verdict == "fail" && !(core_killed && one.why.contains(KILLED)) => {
                wrong.push(format!("{name} blames the core: {}", one.why));
            }
            Some(_) => {}
        }
    }
    if results.verdict == "pass" && !all_ended {
        wrong.push("the run passes, and a scenario left no result".to_owned());
    }
    let passes = results.verdict == "pass";
    let said = [("the run", codes.run), ("report", Some(codes.report)), ("recheck", Some(codes.recheck))];
    for (who, code) in said {
        if let Some(code) = code.filter(|code| good(*code) && !passes) {
            wrong.push(format!("{who} ends with {code}, and the verdict is {}", results.verdict));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::super::processes::Kind;
    use super::*;

    fn judged(verdicts: [&str; 3], why: &str, ended: usize, victim: Kind, code: i32) -> Vec<String> {
        let names = ["a".to_owned(), "b".to_owned()];
        let scenarios = names.iter().zip(&verdicts[1..]).map(|(name, verdict)| ScenarioResult {
            name: name.clone(),
            verdict: (*verdict).to_owned(),
            why: why.to_owned(),
        });
        let results = Results { verdict: verdicts[0].to_owned(), scenarios: scenarios.collect() };
        let codes = Codes { run: Some(code), report: 3, recheck: 3 };
        let core_killed = victim == Kind::Core;
        let codes = if code == 0 { Codes { report: 0, recheck: 0, ..codes } } else { codes };
        wrong(&names, &names[..ended], &results, core_killed, &codes)
    }

    #[test]
    fn what_did_not_run_must_not_pass() {
        assert_eq!(judged(["unknown", "pass", "unknown"], "", 1, Kind::Xtask, 3), [""; 0]);
        assert_eq!(judged(["pass", "pass", "pass"], "", 2, Kind::Nextest, 0), [""; 0]);
        assert_eq!(judged(["pass", "pass", "pass"], "", 1, Kind::Xtask, 0).len(), 2);
        assert_eq!(judged(["unknown", "pass", "unknown"], "", 1, Kind::Nextest, 0).len(), 3);
    }

    #[test]
    fn what_lost_its_libvirt_must_be_unknown() {
        let scenario = |name: &str, verdict: &str| ScenarioResult {
            name: name.to_owned(),
            verdict: verdict.to_owned(),
            why: String::new(),
        };
        let scenarios = vec![scenario("a", "pass"), scenario("b", "unknown"), scenario("c", "pass")];
        let results = Results { verdict: "unknown".to_owned(), scenarios };
        let complaints = |names: &[&str]| {
            decided(&results, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(complaints(&["b"]), [""; 0]);
        assert_eq!(complaints(&["b", "c"]), ["c ends as pass, and must be unknown"]);
    }

    #[test]
    fn only_a_core_that_was_killed_is_to_blame() {
        let why = "the core was killed by signal 9";
        assert_eq!(judged(["fail", "fail", "pass"], why, 2, Kind::Core, 1), [""; 0]);
        assert_eq!(judged(["fail", "fail", "pass"], why, 2, Kind::Qemu, 1).len(), 1);
        assert_eq!(judged(["fail", "fail", "pass"], "lost data", 2, Kind::Core, 1).len(), 1);
    }
}
