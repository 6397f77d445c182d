//! What a certificate states. All of it follows from `results.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::naming::with_stand_ins;
use crate::outcome::{HostFacts, Results, RuleOutcome, ScenarioOutcome, Seeds, Verdict};
use crate::report::reason::{many, reason};
use crate::report::rules::JudgedRules;
use crate::report::tier::tier_of;
use crate::rules::coverage::not_judged;
use crate::rules::{Class, RuleId, Score};
use crate::scenario::{self, Tier};

/// The statements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// The verdict and how much of the suite it covers, in one line.
    pub heading: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is the verdict, in one sentence.
    pub reason: String,
    /// Name and version of the suite.
    pub suite: String,
    /// Revision of the suite's source; empty if it was not recorded.
    pub revision: String,
    /// Name and version of each core that was tested, as it reports them.
    pub cores: BTreeSet<String>,
    /// Profile of external facts.
    pub profile: String,
    /// Id of the run.
    pub run: String,
    /// When its first scenario began, UTC.
    pub began: String,
    /// The command that began it.
    pub command: String,
    /// The seed that was asked for, if any. Otherwise seeds follow from the id of the run.
    pub seed: Option<String>,
    /// The test host.
    pub host: HostFacts,
    /// The tiers in which scenarios ran.
    pub tiers: BTreeSet<String>,
    /// Scenarios that the suite has.
    pub scenarios_of_suite: usize,
    /// The scenarios of the run.
    pub scenarios: Vec<ClaimedScenario>,
    /// Rules by what was found, under the names of [`GROUPS`].
    pub rules: BTreeMap<String, Vec<RuleId>>,
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClaimedScenario {
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// The tier in which it ran, if the suite knows it.
    pub tier: Option<Tier>,
    /// Its verdict.
    pub verdict: Verdict,
    /// Why that is not a pass, in one line; empty if it is.
    pub why: String,
    /// Its edges and their verdicts.
    pub edges: Vec<(String, Verdict)>,
    /// The seeds of its simulated cycles.
    pub seeds: Option<Seeds>,
    /// What exceeded its time bound.
    pub regressions: Vec<String>,
    /// The fault that was injected on purpose.
    pub injected_fault: Option<String>,
}

/// A group of rules: its name, and what it means.
pub(super) const GROUPS: [(&str, &str); 10] = [
    ("passed", "guarantees that the core kept"),
    ("failed", "guarantees that the core broke"),
    ("limited", "documented limits that the core has"),
    ("limit not found", "documented limits that the core does not have; it may be better"),
    ("advice followed", "advice that the core follows"),
    ("advice not followed", "advice that the core does not follow; it never fails a core"),
    ("stand-ins as described", "facts about the suite's own stand-ins, which say nothing of the core"),
    ("unknown", "nothing can be said; this is never a pass"),
    ("skipped", "the core lacks what the rule needs"),
    ("not judged", "rules of the suite that this run did not judge"),
];

fn group(rule: &RuleOutcome) -> &'static str {
    match (rule.class, rule.score) {
        (Class::StandIn, Score::Held) => "stand-ins as described",
        (_, Score::Held) => "passed",
        (_, Score::Broken) => "failed",
        (_, Score::AsDocumented) => "limited",
        (_, Score::DiffersFromLimit) => "limit not found",
        (_, Score::Followed) => "advice followed",
        (_, Score::NotFollowed) => "advice not followed",
        (_, Score::Unknown) => "unknown",
        (_, Score::Skipped) => "skipped",
    }
}

impl Claims {
    /// What the results of a run state.
    ///
    /// # Errors
    /// The suite's table of scenarios is malformed.
    pub(super) fn of(results: &Results) -> anyhow::Result<Self> {
        let Results { suite, run, profile, began, request, host, verdict, scenarios, .. } = results;
        let known: BTreeSet<String> = scenario::all()?.into_iter().map(|row| row.name).collect();
        let cores = scenarios.iter().map(|scenario| scenario.core.clone()).filter(|core| !core.is_empty());
        let mut rules: BTreeMap<String, Vec<RuleId>> =
            GROUPS.iter().map(|(name, _)| ((*name).to_owned(), Vec::new())).collect();
        for rule in JudgedRules::of(results).all() {
            rules.entry(group(rule).to_owned()).or_default().push(rule.id);
        }
        rules
            .insert("not judged".to_owned(), not_judged(&results.rules).iter().map(|rule| rule.id).collect());
        Ok(Self {
            heading: heading(results, &known),
            verdict: *verdict,
            reason: with_stand_ins(&reason(results)),
            suite: suite.clone(),
            revision: request.revision.clone(),
            cores: cores.collect(),
            profile: profile.clone(),
            run: run.clone(),
            began: began.clone(),
            command: request.command.clone(),
            seed: request.seed.clone(),
            host: host.clone(),
            tiers: scenarios.iter().filter_map(tier_of).map(|tier| words_of(tier).to_owned()).collect(),
            scenarios_of_suite: known.len(),
            scenarios: scenarios.iter().map(ClaimedScenario::of).collect(),
            rules,
        })
    }

    /// The rules of a group.
    pub(super) fn group(&self, name: &str) -> &[RuleId] {
        self.rules.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

impl ClaimedScenario {
    fn of(scenario: &ScenarioOutcome) -> Self {
        let lines = |text: &str| with_stand_ins(text.lines().next().unwrap_or_default());
        Self {
            name: scenario.name.clone(),
            title: with_stand_ins(&scenario.title),
            tier: tier_of(scenario),
            verdict: scenario.verdict,
            why: lines(&scenario.why),
            edges: scenario.edges.iter().map(|edge| (edge.name.clone(), edge.verdict)).collect(),
            seeds: scenario.seeds,
            regressions: scenario.slow.iter().map(|slow| lines(slow)).collect(),
            injected_fault: scenario.mutant.clone(),
        }
    }
}

/// The tier in words.
pub(super) fn words_of(tier: Tier) -> &'static str {
    match tier {
        Tier::Real => "on guests",
        Tier::Sim => "in memory",
    }
}

/// The verdict in one line. Whatever makes it less than that of the whole suite on an unaltered
/// core is in the same line.
fn heading(results: &Results, suite: &BTreeSet<String>) -> String {
    let scenarios = &results.scenarios;
    let mut heading = match results.verdict {
        Verdict::Pass => results.conclusion().to_owned(),
        Verdict::Fail => "FAILED: the core does not conform".to_owned(),
        Verdict::Unknown => "UNKNOWN: nothing can be said, and this is not a pass".to_owned(),
        Verdict::Skipped => "SKIPPED: nothing was judged, and this is not a pass".to_owned(),
    };
    let regressions = results.slow().count();
    if regressions > 1 && results.verdict == Verdict::Pass {
        heading += &format!(" ({})", many(regressions, "regression"));
    }
    if scenarios.iter().any(|scenario| scenario.mutant.is_some()) {
        heading += "; A FAULT WAS INJECTED ON PURPOSE";
    }
    let skipped = scenarios.iter().filter(|scenario| scenario.verdict == Verdict::Skipped).count();
    if skipped > 0 {
        heading += &format!("; {} skipped", many(skipped, "scenario"));
    }
    let tiers: BTreeSet<_> = scenarios.iter().filter_map(tier_of).map(words_of).collect();
    let tiers: Vec<_> = tiers.into_iter().collect();
    let of_suite = suite.len();
    let covered: BTreeSet<_> = scenarios.iter().map(|scenario| &scenario.name).collect();
    let covered = covered.into_iter().filter(|name| suite.contains(*name)).count();
    let partial = if covered < of_suite { "PARTIAL RUN: " } else { "" };
    format!("{heading} ({partial}{covered} of {of_suite} scenarios, {})", tiers.join(" and "))
}
