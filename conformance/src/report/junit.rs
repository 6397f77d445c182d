//! JUnit: one test suite for each scenario, with one test case for each edge and each rule.

use std::time::Duration;

use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::outcome::{Results, RuleOutcome, ScenarioOutcome, Verdict};

pub(super) fn render(results: &Results) -> Result<String> {
    let mut report = Report::new("roundtrip");
    for scenario in &results.scenarios {
        report.add_test_suite(suite(scenario));
    }
    Ok(report.to_string()?)
}

fn suite(scenario: &ScenarioOutcome) -> TestSuite {
    let mut suite = TestSuite::new(scenario.name.as_str());
    suite.set_time(Duration::from_millis(scenario.ms));
    let mut whole = case("scenario", scenario.verdict, &scenario.why);
    whole.set_time(Duration::from_millis(scenario.ms));
    suite.add_test_case(whole);
    for edge in &scenario.edges {
        let mut case = case(&format!("edge {}", edge.name), edge.verdict, &edge.why);
        case.set_time(Duration::from_millis(edge.rto.ms));
        suite.add_test_case(case);
    }
    for slow in &scenario.slow {
        suite.add_test_case(slow_case(slow));
    }
    for rule in &scenario.rules {
        suite.add_test_case(rule_case(rule));
    }
    suite
}

/// A rule. Advice and limitations never fail, so that how they scored stands in the output too.
fn rule_case(rule: &RuleOutcome) -> TestCase {
    let RuleOutcome { id, title, class, score, expected, found, .. } = rule;
    let finding = format!("expected: {expected}\nfound: {found}");
    let mut case = case(&format!("rule {id}: {title}"), score.verdict(), &finding);
    case.set_system_out(format!("{} ({})\n{finding}", score.words(), class.as_str()));
    case
}

/// What exceeded its time bound: a failure of its own type, because no rule is broken.
fn slow_case(slow: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type("slow");
    status.set_message(slow);
    TestCase::new(format!("time bound: {slow}"), status)
}

/// What needs a capability that the core does not have.
fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

fn case(name: &str, verdict: Verdict, why: &str) -> TestCase {
    let status = match verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Skipped => skipped(why),
        Verdict::Fail | Verdict::Unknown => {
            let kind = if verdict == Verdict::Fail { NonSuccessKind::Failure } else { NonSuccessKind::Error };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(why);
            status
        }
    };
    TestCase::new(name, status)
}
