//! Mutants that scenarios on real guests have to find.

use std::time::Instant;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::cli::{ConformanceArgs, MutantsArgs};
use crate::conformance;
use crate::conformance::rundir::{LATEST, RUNS};
use crate::error::{INTERRUPTED, RULE_BROKEN, code_of, usage};
use crate::suite::Suite;

/// A mutant, and the scenario that has to find it.
#[derive(Debug, Deserialize)]
struct Row {
    class: String,
    /// The value of `--mutant`.
    mutant: String,
    scenario: String,
    /// The rules that must be broken.
    rules: Vec<String>,
}

impl Row {
    fn is_of(&self, name: &str) -> bool {
        self.mutant.split('@').next() == Some(name)
    }
}

/// The part of `results.json` that says which rules were broken.
#[derive(Debug, Default, Deserialize)]
struct Results {
    rules: Vec<RuleResult>,
}

#[derive(Debug, Deserialize)]
struct RuleResult {
    id: String,
    verdict: String,
}

/// How the suite judged a mutant.
struct Judged {
    code: u8,
    broken: Vec<String>,
}

impl Judged {
    /// Whether the run failed, and by the rules that it must fail by. A mutant that altered nothing
    /// ends a run without a verdict.
    fn is_killed(&self, row: &Row) -> bool {
        self.code == RULE_BROKEN && row.rules.iter().all(|rule| self.broken.contains(rule))
    }
}

/// Runs every mutant that scenarios on guests have to find, or those that were named. Returns 0 if
/// all were found.
pub fn judge(root: &Utf8Path, suite: &Suite, arguments: &MutantsArgs) -> Result<u8> {
    let began = Instant::now();
    let rows = choose(list(suite)?, &arguments.names)?;
    let mut killed = 0;
    for row in &rows {
        let judged = run(root, row, arguments)?;
        if judged.code == INTERRUPTED {
            return Ok(INTERRUPTED);
        }
        let is_killed = judged.is_killed(row);
        killed += usize::from(is_killed);
        println!("{}", line(row, &judged, is_killed));
    }
    println!("{killed} of {} mutants killed on guests; {} s", rows.len(), began.elapsed().as_secs());
    Ok(u8::from(killed < rows.len()))
}

fn list(suite: &Suite) -> Result<Vec<Row>> {
    let output = suite.command(&["guest-mutants"]).output().context("start the suite")?;
    anyhow::ensure!(output.status.success(), "the suite lists no mutants ({})", output.status);
    serde_json::from_slice(&output.stdout).context("read the suite's list of mutants")
}

fn choose(all: Vec<Row>, names: &[String]) -> Result<Vec<Row>> {
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|row| row.is_of(name))) {
        return Err(usage(format!("No scenario on guests has to find a mutant {unknown}.")));
    }
    Ok(all.into_iter().filter(|row| names.is_empty() || names.iter().any(|name| row.is_of(name))).collect())
}

fn run(root: &Utf8Path, row: &Row, arguments: &MutantsArgs) -> Result<Judged> {
    let out = arguments.out.as_ref().map(|out| out.join(format!("{}-{}", row.mutant, row.scenario)));
    let run = ConformanceArgs {
        mutant: Some(row.mutant.clone()),
        out: out.clone(),
        ..ConformanceArgs::only(&row.scenario, arguments.consent.clone())
    };
    let code = conformance::command(root, &run).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        code_of(&error)
    });
    let dir = out.unwrap_or_else(|| Utf8PathBuf::from(RUNS).join(LATEST));
    // A run that reached no verdict may have left no results.
    let text = std::fs::read(dir.join("results.json")).unwrap_or_default();
    Ok(Judged { code, broken: if code == RULE_BROKEN { broken(&text)? } else { Vec::new() } })
}

/// The rules that a run found broken.
fn broken(results: &[u8]) -> Result<Vec<String>> {
    let results: Results = serde_json::from_slice(results).context("read results.json")?;
    let failed = results.rules.into_iter().filter(|rule| rule.verdict == "fail");
    Ok(failed.map(|rule| rule.id).collect())
}

fn line(row: &Row, judged: &Judged, is_killed: bool) -> String {
    let fate = if is_killed { "killed" } else { "SURVIVES" };
    let Row { class, mutant, scenario, rules } = row;
    let (must, broken) = (rules.join(" "), judged.broken.join(" "));
    format!(
        "{fate:8}  {class:24}  {mutant:32}  {scenario}: exit {}; must break {must}; broken: {broken}",
        judged.code
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mutant: &str) -> Row {
        Row {
            class: "transfer skipped".into(),
            mutant: mutant.into(),
            scenario: "vmware-azure".into(),
            rules: vec!["FO-10".into()],
        }
    }

    #[test]
    fn a_mutant_is_killed_only_by_exit_code_1_and_the_rules_that_it_names() {
        let judged = |code, broken: &[&str]| Judged {
            code,
            broken: broken.iter().map(|rule| (*rule).to_owned()).collect(),
        };
        let row = row("drop-extent");
        assert!(judged(1, &["FO-04", "FO-10"]).is_killed(&row));
        assert!(!judged(1, &["FO-04"]).is_killed(&row));
        assert!(!judged(3, &["FO-10"]).is_killed(&row) && !judged(0, &[]).is_killed(&row));
    }

    #[test]
    fn broken_rules_are_read_from_the_results() {
        let results = br#"{"rules":[{"id":"FO-10","verdict":"fail"},{"id":"FO-04","verdict":"pass"}]}"#;
        assert_eq!(broken(results).expect("results"), ["FO-10"]);
        assert!(broken(b"").is_err());
    }

    #[test]
    fn mutants_are_chosen_by_name_at_whatever_edge() {
        let all = || vec![row("drop-extent@failback"), row("flip-bit")];
        let chosen = choose(all(), &["drop-extent".to_owned()]).expect("it is known");
        assert!(chosen.len() == 1 && chosen[0].mutant == "drop-extent@failback");
        assert_eq!(choose(all(), &[]).expect("all").len(), 2);
        assert!(choose(all(), &["flip".to_owned()]).is_err());
    }
}
