//! Gathers what the tests of a run left behind.

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use super::overall;
use crate::evidence::{RESULT, STARTED};
use crate::outcome::{HostFacts, Results, RuleOutcome, SCHEMA, ScenarioOutcome};

/// Reads every scenario's evidence. One that began and left no result is unknown, never absent.
///
/// # Errors
/// The directory cannot be read, or nothing ever began in it.
pub fn collect(dir: &Utf8Path, host: HostFacts) -> Result<Results> {
    let entries = dir.read_dir_utf8().with_context(|| format!("read {dir}"))?;
    let mut scenarios = Vec::new();
    for entry in entries {
        let path = entry?.path().to_owned();
        let is_attempt = path.file_name().is_some_and(|name| name.contains(".attempt-"));
        if path.join(STARTED).exists() && !is_attempt {
            scenarios.push(scenario(&path));
        }
    }
    anyhow::ensure!(!scenarios.is_empty(), "no scenario began in {dir}: there is nothing to report");
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    let rules = rules(&scenarios);
    Ok(Results {
        schema: SCHEMA,
        suite: format!("roundtrip {}", env!("CARGO_PKG_VERSION")),
        run: dir.file_name().unwrap_or_default().to_owned(),
        reported: jiff::Timestamp::now().to_string(),
        host,
        verdict: overall(scenarios.iter().map(|scenario| scenario.verdict)),
        scenarios,
        rules,
    })
}

fn scenario(dir: &Utf8Path) -> ScenarioOutcome {
    let read = std::fs::read(dir.join(RESULT)).map_err(anyhow::Error::from);
    let parsed = read.and_then(|text| Ok(serde_json::from_slice(&text)?));
    parsed.unwrap_or_else(|error| without_result(dir, &error))
}

/// A test that began and left no readable result: killed, or out of disk.
fn without_result(dir: &Utf8Path, error: &anyhow::Error) -> ScenarioOutcome {
    let name = dir.file_name().unwrap_or_default();
    let mut outcome = ScenarioOutcome::begun(name, "", None);
    outcome.why = format!("the test began and left no result ({error}): it was killed, or the disk is full");
    outcome
}

/// Every rule once, with its worst verdict.
fn rules(scenarios: &[ScenarioOutcome]) -> Vec<RuleOutcome> {
    let mut rules: Vec<RuleOutcome> = Vec::new();
    for rule in scenarios.iter().flat_map(|scenario| &scenario.rules) {
        match rules.iter_mut().find(|known| (&known.id, &known.tier) == (&rule.id, &rule.tier)) {
            Some(known) if rule.verdict > known.verdict => *known = rule.clone(),
            Some(_) => {}
            None => rules.push(rule.clone()),
        }
    }
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    rules
}
