//! JUnit: one test suite for each tier, with one test case for each scenario and one for each of
//! its edges. A broken rule is part of the failure of its scenario.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::tier::tier_of;
use crate::outcome::{EdgeOutcome, Results, RuleOutcome, ScenarioOutcome, Verdict};
use crate::scenario::Tier;

pub(super) fn render(results: &Results) -> Result<String> {
    let mut report = Report::new("roundtrip");
    report.set_time(total(results.scenarios.iter()));
    for tier in [Some(Tier::Sim), Some(Tier::Real), None] {
        let of_tier = || results.scenarios.iter().filter(|scenario| tier_of(scenario) == tier);
        if of_tier().next().is_none() {
            continue;
        }
        let name = tier.map_or("other", Tier::as_str);
        let mut suite = TestSuite::new(name);
        suite.set_time(total(of_tier()));
        for (key, value) in properties(results) {
            suite.add_property((key, value.as_str()));
        }
        for scenario in of_tier() {
            suite.add_test_cases(cases(name, scenario));
        }
        report.add_test_suite(suite);
    }
    if !results.regressions.is_empty() {
        let mut suite = TestSuite::new("history");
        for regression in &results.regressions {
            let place = regression.split(" from ").next().unwrap_or(regression);
            let mut case = slow_case(&format!("since earlier runs: {place}"), regression);
            case.set_classname("history");
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}

fn total<'a>(scenarios: impl Iterator<Item = &'a ScenarioOutcome>) -> Duration {
    Duration::from_millis(scenarios.map(|scenario| scenario.ms).sum())
}

/// What a reader needs to compare runs.
fn properties(results: &Results) -> [(&'static str, String); 6] {
    let host = &results.host;
    [
        ("suite", results.suite.clone()),
        ("run", results.run.clone()),
        ("profile", results.profile.clone()),
        ("accelerator", host.accelerator.clone()),
        ("qemu", host.qemu.clone()),
        ("kernel", host.kernel.clone()),
    ]
}

/// The test of a scenario, those of its edges, and one for each time bound that was exceeded.
fn cases(tier: &str, scenario: &ScenarioOutcome) -> Vec<TestCase> {
    let ScenarioOutcome { name, verdict, why, ms, edges, slow, .. } = scenario;
    let class = format!("{tier}.{name}");
    let mut whole = case(name, *verdict, why, &findings(scenario));
    whole.set_classname(tier);
    whole.set_time(Duration::from_millis(*ms));
    whole.set_system_out(judged(scenario));
    let edges = edges.iter().map(|edge| {
        let EdgeOutcome { name, verdict, why, rto, .. } = edge;
        let mut case = case(name, *verdict, why, why);
        case.set_classname(class.as_str());
        case.set_time(Duration::from_millis(rto.ms));
        case
    });
    let slow = slow.iter().map(|slow| {
        let mut case = slow_case(&format!("time bound: {slow}"), slow);
        case.set_classname(class.as_str());
        case
    });
    [whole].into_iter().chain(edges).chain(slow).collect()
}

/// The rules that keep a scenario from being a pass, each with what was expected and found.
fn findings(scenario: &ScenarioOutcome) -> String {
    let mut text = scenario.why.clone();
    for rule in scenario.rules.iter().filter(|rule| rule.score.verdict() > Verdict::Pass) {
        let RuleOutcome { id, title, score, expected, found, .. } = rule;
        // Writing to a string cannot fail.
        let _ = write!(text, "\n\n{id} {}: {title}\nexpected: {expected}\nfound: {found}", score.words());
    }
    text
}

/// Every rule that the scenario judged, one a line. Advice and limits never fail, so that how they
/// scored is shown here.
fn judged(scenario: &ScenarioOutcome) -> String {
    let rules = scenario.rules.iter();
    rules
        .map(|rule| format!("{} {} ({}): {}\n", rule.id, rule.score.words(), rule.class.as_str(), rule.found))
        .collect()
}

/// A regression: a failure of its own type, because no rule is broken.
fn slow_case(name: &str, slow: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type("slow");
    status.set_message(slow);
    TestCase::new(name, status)
}

fn case(name: &str, verdict: Verdict, why: &str, details: &str) -> TestCase {
    let (mut status, kind) = match verdict {
        Verdict::Pass => return TestCase::new(name, TestCaseStatus::success()),
        Verdict::Skipped => (TestCaseStatus::skipped(), "skipped"),
        Verdict::Fail => (TestCaseStatus::non_success(NonSuccessKind::Failure), "broken rule"),
        Verdict::Unknown => (TestCaseStatus::non_success(NonSuccessKind::Error), "unknown"),
    };
    status.set_type(kind);
    status.set_message(why);
    status.set_description(details);
    TestCase::new(name, status)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn every_scenario_and_every_edge_is_one_test_and_rules_are_none() {
        let results = samples::passing();
        let text = render(&results).unwrap();
        let edges: usize = results.scenarios.iter().map(|scenario| scenario.edges.len()).sum();
        assert_eq!(text.matches("<testcase").count(), results.scenarios.len() + edges, "{text}");
        assert!(!text.contains("<failure") && !text.contains("<error"), "{text}");
    }

    #[test]
    fn a_broken_rule_is_inside_the_failure_of_its_scenario() {
        let results = samples::failing();
        let text = render(&results).unwrap();
        let rule = results.rules.iter().find(|rule| rule.score.verdict() == Verdict::Fail).unwrap();
        let failure = text.split("<failure").nth(1).and_then(|rest| rest.split("</failure>").next()).unwrap();
        assert!(failure.contains(rule.id.as_str()) && failure.contains("expected: "), "{text}");
    }

    #[test]
    fn unknown_skipped_and_slow_are_told_apart() {
        let mut results = samples::passing();
        results.scenarios[0].slow.push("failover took 9 boots".to_owned());
        results.scenarios[0].edges[0].verdict = Verdict::Skipped;
        results.scenarios[0].edges[1].verdict = Verdict::Unknown;
        let text = render(&results).unwrap();
        for wanted in ["type=\"slow\"", "<skipped", "<error"] {
            assert_eq!(text.matches(wanted).count(), 1, "{wanted} in {text}");
        }
    }
}
