//! The core of docs/your-core.md, as it is and with one of its lines broken: the suite must find
//! the rule that the line keeps, and nothing in the core as it is.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use conformance::mutants::InjectedFault;
use conformance::rules::RuleId;
use conformance::rules::catalogue;
use conformance::rules::ids::FO_02;
use conformance::sim;

/// Marks the process in which the suite judges a core.
const CHILD: &str = "ROUNDTRIP_TEST_CHILD";
/// In that process: the rules of which the checks run, with blanks between them.
const RULES: &str = "ROUNDTRIP_TEST_RULES";
/// Begins the line with which that process says what it found.
const FOUND: &str = "broken rules:";
const SEED: u64 = 7;

/// Runs checks. The parent names their rules and the core in the environment.
#[test]
fn judge() {
    if std::env::var_os(CHILD).is_some() {
        let rules = std::env::var(RULES).unwrap();
        let rules: Vec<_> = rules.split_whitespace().map(|id| RuleId::find(id).unwrap()).collect();
        let found = sim::run_checks_for(&rules, &InjectedFault::default(), SEED);
        let broken = found.broken.iter().chain(&found.ended_early).map(|rule| format!(" {rule}"));
        println!("\n{FOUND}{}", broken.collect::<String>());
    }
}

/// The rules that a core breaks in the checks of a failover in two phases.
fn broken_by(core: &Path) -> String {
    broken_of(&[FO_02], core)
}

/// The rules that a core breaks in the checks of some rules.
fn broken_of(rules: &[RuleId], core: &Path) -> String {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["judge", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .env(RULES, rules.iter().map(|rule| format!("{rule} ")).collect::<String>())
        .env("ROUNDTRIP_CORE", format!("python3 -B '{}'", core.display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let line = said.lines().find_map(|line| line.strip_prefix(FOUND));
    line.unwrap_or_else(|| panic!("no verdict: {said}{}", String::from_utf8_lossy(&child.stderr)))
        .trim()
        .to_owned()
}

fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/python")
}

/// The rules that the core breaks with a line replaced by another one.
fn broken_with(line: &str, by: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for module in ["roundtrip.py", "hydrate.py"] {
        std::os::unix::fs::symlink(python().join(module).canonicalize().unwrap(), dir.path().join(module))
            .unwrap();
    }
    let sound = std::fs::read_to_string(python().join("full_copy.py")).unwrap();
    assert_eq!(sound.matches(line).count(), 1, "{line}");
    let core = dir.path().join("full_copy.py");
    std::fs::write(&core, sound.replace(line, by)).unwrap();
    broken_by(&core)
}

/// Apart from two pieces of advice: it takes names that the target does not allow, and ends
/// protection only while the recovery site answers.
#[test]
fn the_core_breaks_no_rule() {
    let all: Vec<_> = catalogue().iter().map(|rule| rule.id).collect();
    assert_eq!(broken_of(&all, &python().join("full_copy.py")), "FO-18 FX-11");
}

#[test]
fn a_failover_to_another_point_than_the_chosen_one_is_found() {
    let chosen = "await self.switch(job, request.item, await self.choose(request.item, request.point))";
    let oldest = "await self.switch(job, request.item, item.view.points[0])";
    assert_eq!(broken_with(chosen, oldest), "FO-01 FO-10");
}

#[test]
fn points_that_a_commit_leaves_behind_are_found() {
    let deleted = "item.garbage, item.copying = item.garbage + item.copying + points, []
            item.view.points";
    let kept = "item.garbage, item.copying = [], []
            item.view.points";
    assert_eq!(broken_with(deleted, kept), "FO-04");
}
