//! What a run must say and leave: one line that helps, the exit code of a run without a verdict,
//! and no evidence that is accepted as complete and is not.

use camino::Utf8Path;

use super::cases::{Case, Ends};
use crate::error::INFRASTRUCTURE;
use crate::torture::results::{self, Codes, good};

/// How many of the last lines a person looks at.
const LAST_LINES: usize = 2;

/// What a run printed.
pub struct Said(String);

impl Said {
    /// Reads what a run printed.
    pub fn read(log: &Utf8Path) -> Self {
        let text = std::fs::read(log).unwrap_or_default();
        Self(String::from_utf8_lossy(&text).into_owned())
    }

    /// Its last lines, the last first. A run that wrote its report ends with the reason of the
    /// verdict and with where the report is.
    fn ending(&self) -> impl Iterator<Item = &str> {
        self.0.lines().rev().map(str::trim).filter(|line| !line.is_empty()).take(LAST_LINES)
    }

    /// The line that says these words, or else the last one.
    pub fn line(&self, words: &[&str]) -> &str {
        let says = |line: &&str| words.iter().all(|words| line.contains(words));
        self.ending().find(says).or_else(|| self.ending().next()).unwrap_or_default()
    }
}

/// What is wrong with how a run ended. `is_last` is the run with the most left.
pub fn ending(case: &Case, code: Option<i32>, said: &Said, is_last: bool) -> Vec<String> {
    let Some(code) = code else { return vec!["the run came to no end by itself".to_owned()] };
    let (may_pass, must_pass) = match case.ends {
        Ends::Unknown => (false, false),
        Ends::UnknownUntilEnough => (true, is_last),
        Ends::Passes => (true, true),
    };
    if good(code) {
        let wrong = (!may_pass).then(|| format!("the run ends with {code}, as if nothing were missing"));
        return wrong.into_iter().collect();
    }
    if must_pass {
        return vec![format!("the run ends with {code}, although enough is left: {}", said.line(&[]))];
    }
    let mut wrong = Vec::new();
    if code != i32::from(INFRASTRUCTURE) {
        wrong.push(format!("the run ends with {code}, and not with {INFRASTRUCTURE}"));
    }
    let line = said.line(case.says);
    let unsaid: Vec<_> = case.says.iter().filter(|words| !line.contains(**words)).collect();
    if !unsaid.is_empty() {
        wrong.push(format!("the last lines do not say {unsaid:?}"));
    }
    wrong
}

/// What is wrong with how the evidence is judged, once everything is there again.
pub fn evidence(out: &Utf8Path, codes: &Codes) -> Vec<String> {
    if let Ok((_, wrong)) = results::judge(out, false, codes) {
        return wrong;
    }
    // There are no results that can be read.
    let said = [("the run", codes.run), ("report", Some(codes.report)), ("recheck", Some(codes.recheck))];
    let accepted = said.into_iter().filter(|(_, code)| code.is_some_and(good));
    accepted.map(|(who, _)| format!("{who} accepts evidence without results")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::cases::CASES;
    use super::*;

    fn complaints(name: &str, code: Option<i32>, line: &str, is_last: bool) -> usize {
        let case = CASES.iter().find(|case| case.name == name).expect("there is one");
        ending(case, code, &Said(format!("earlier\n{line}\n\n")), is_last).len()
    }

    #[test]
    fn a_run_without_a_verdict_says_why_and_ends_with_its_code() {
        let line = "The disk at /out is full: choose another place with --out.";
        assert_eq!(complaints("disk-full", Some(3), line, false), 0);
        assert_eq!(complaints("disk-full", Some(3), "error: No space left on device", false), 1);
        assert_eq!(complaints("disk-full", Some(1), line, false), 1);
        assert_eq!(complaints("disk-full", None, line, false), 1);
        assert_eq!(complaints("disk-full", Some(3), line, true), 1);
        assert_eq!(complaints("disk-full", Some(0), "", false), 0);
    }

    #[test]
    fn a_run_passes_only_where_nothing_that_it_needs_is_missing() {
        assert_eq!(complaints("libvirt-silent", Some(0), "", true), 1);
        assert_eq!(complaints("clock-back", Some(2), "", true), 0);
        assert_eq!(complaints("clock-back", Some(3), "", true), 1);
    }

    #[test]
    fn evidence_without_results_must_not_be_accepted() {
        let scratch = tempfile::tempdir().expect("a directory");
        let out = Utf8Path::from_path(scratch.path()).expect("UTF-8");
        std::fs::write(out.join("asked.json"), "").expect("written");
        let codes = |run, report, recheck| Codes { run: Some(run), report, recheck };
        assert_eq!(evidence(out, &codes(3, 3, 3)).len(), 0);
        assert_eq!(evidence(out, &codes(3, 0, 3)).len(), 1);
        assert_eq!(evidence(out, &codes(0, 3, 2)).len(), 2);
    }
}
