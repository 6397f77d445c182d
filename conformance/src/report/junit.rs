//! JUnit: a suite a scenario, a case an edge and a rule.

use std::time::Duration;

use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::outcome::{Results, ScenarioOutcome, Verdict};

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
    for rule in &scenario.rules {
        suite.add_test_case(case(&format!("rule {}", rule.id), rule.verdict, &rule.found));
    }
    suite
}

fn case(name: &str, verdict: Verdict, why: &str) -> TestCase {
    let status = match verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail | Verdict::Unknown => {
            let kind = if verdict == Verdict::Fail { NonSuccessKind::Failure } else { NonSuccessKind::Error };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(why);
            status
        }
    };
    TestCase::new(name, status)
}
