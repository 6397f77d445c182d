//! Collects what the tests of a run left behind.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::shards::contradictions;
use super::test_runner;
use crate::evidence::origin::{Foreign, check_place, check_seal_if_due, check_start};
use crate::evidence::{RESULT, STARTED, asked, attempt_of, began};
use crate::foreign_files;
use crate::outcome::{Division, HostFacts, Request, Results, RuleOutcome, SCHEMA, ScenarioOutcome, Verdict};
use crate::rules::coverage::not_judged;
use crate::rules::profile::Profile;
use crate::scenario;

/// Reads the evidence of every scenario. One that left no result, or a result that is not its own
/// or of another run, or was asked for and never started, is unknown, and never absent.
///
/// # Errors
/// The directory cannot be read, or no scenario began in it or was asked for.
pub fn collect(dir: &Utf8Path, host: HostFacts) -> Result<Results> {
    let places = places(dir)?;
    let division = Division::of_run(dir)?;
    let foreign = Foreign::among(&places, &division);
    let mut scenarios: Vec<_> = places.iter().map(|place| outcome_of(place, &foreign)).collect();
    let starts = places.iter().filter_map(|place| began(place));
    for name in asked(dir)? {
        if !scenarios.iter().any(|scenario| scenario.name == name) {
            scenarios.push(never_started(&name, &division));
        }
    }
    scenarios.extend(contradictions(&division, &scenarios));
    scenarios.extend(test_runner::contradiction(dir, &scenarios)?);
    anyhow::ensure!(!scenarios.is_empty(), "no scenario began in {dir}: there is nothing to report");
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    let rules = rules(&scenarios);
    Ok(Results {
        schema: SCHEMA,
        suite: suite(),
        run: dir.file_name().unwrap_or_default().to_owned(),
        profile: profile(&scenarios),
        began: starts.min().map(|start| start.to_string()).unwrap_or_default(),
        reported: jiff::Timestamp::now().to_string(),
        request: Request::of_run(dir)?,
        division,
        host,
        verdict: Verdict::worst_of(scenarios.iter().map(|scenario| scenario.verdict)),
        not_judged: not_judged(&rules),
        scenarios,
        regressions: Vec::new(),
        rules,
    })
}

/// Name and version of the suite.
pub(crate) fn suite() -> String {
    format!("roundtrip {}", env!("CARGO_PKG_VERSION"))
}

/// The directories of the scenarios that began in the run, without earlier attempts.
fn places(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let entries = dir.read_dir_utf8().with_context(|| format!("read {dir}"))?;
    let mut places = Vec::new();
    for entry in entries {
        let path = entry?.path().to_owned();
        let is_attempt = path.file_name().and_then(attempt_of).is_some();
        if path.join(STARTED).exists() && !is_attempt {
            places.push(path);
        }
    }
    Ok(places)
}

/// The outcome that a scenario left, or an unknown one.
fn outcome_of(dir: &Utf8Path, foreign: &Foreign) -> ScenarioOutcome {
    let own = foreign.check(dir).and_then(|()| own_outcome(dir));
    own.unwrap_or_else(|why| without_result(dir.file_name().unwrap_or_default(), why))
}

/// The outcome that the scenario of a directory wrote; `Err` says why there is none.
fn own_outcome(dir: &Utf8Path) -> Result<ScenarioOutcome, String> {
    let read = foreign_files::read(&dir.join(RESULT)).map_err(anyhow::Error::from);
    let parsed = read.and_then(|text| Ok((serde_json::from_slice::<ScenarioOutcome>(&text)?, text)));
    let (outcome, text) = parsed.map_err(|error| {
        format!("the test began and left no result ({error}): it was killed, or the disk is full")
    })?;
    check_seal_if_due(dir, &text)?;
    check_start(dir, &outcome)?;
    check_place(dir, &outcome)?;
    Ok(outcome)
}

/// The outcome of a scenario of which nothing is known. No profile judged it.
fn without_result(name: &str, why: String) -> ScenarioOutcome {
    ScenarioOutcome { why, profile: String::new(), ..ScenarioOutcome::begun(name, &title_of(name), None) }
}

/// The outcome of a scenario that the run was asked for and that never started.
fn never_started(name: &str, division: &Division) -> ScenarioOutcome {
    let absent = match division {
        Division::Merged(merged) => merged.why_absent(name),
        Division::Whole | Division::Shard(_) => None,
    };
    let why =
        absent.unwrap_or_else(|| "the run was asked for this scenario, and it never started".to_owned());
    without_result(name, why)
}

/// The title of a scenario in the table of scenarios.
fn title_of(name: &str) -> String {
    let row = scenario::all().ok().and_then(|rows| rows.into_iter().find(|row| row.name == name));
    row.map(|row| row.title).unwrap_or_default()
}

/// The profile that the scenarios were judged by: one, unless a directory holds several runs. If
/// none was judged, it is that of this process.
fn profile(scenarios: &[ScenarioOutcome]) -> String {
    let names = scenarios.iter().map(|scenario| scenario.profile.as_str());
    let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Profile::active().name().to_owned();
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Every rule once for each tier that judged it, with its worst outcome.
fn rules(scenarios: &[ScenarioOutcome]) -> Vec<RuleOutcome> {
    let mut rules: Vec<RuleOutcome> = Vec::new();
    for rule in scenarios.iter().flat_map(|scenario| &scenario.rules) {
        match rules.iter_mut().find(|known| (known.id, known.tier) == (rule.id, rule.tier)) {
            Some(known) if rule.severity() > known.severity() => *known = rule.clone(),
            Some(_) => {}
            None => rules.push(rule.clone()),
        }
    }
    rules.sort_by_key(|rule| rule.id);
    rules
}
