//! The command `test`: everything that must pass before a change is merged.

mod counts;
mod steps;
pub mod tools;

use std::time::Instant;

use anyhow::Result;
use camino::Utf8Path;

use crate::cli::{ConformanceArgs, Consent};
use crate::error::{INTERRUPTED, code_of};
use crate::terminal::{human, say};
use crate::{conformance, setup};
use counts::TestCounts;
use steps::CHECKS;

/// The scenario of the short real cycle.
const CYCLE: &str = "vmware-azure";

/// Runs all checks, even after one failed, and returns the exit code. The last line has the counts.
pub fn command(root: &Utf8Path, consent: &Consent) -> Result<u8> {
    setup::ensure(root, consent.yes)?;
    tools::ensure(root, consent.yes)?;
    let mut total = TestCounts::default();
    for check in CHECKS {
        total.add(timed(check.name, || check.run(root))?);
    }
    let mut code = 0;
    let cycle = timed("one real cycle", || {
        let result = conformance::command(root, &ConformanceArgs::only(CYCLE, consent.clone()));
        code = result.unwrap_or_else(|error| {
            say(format!("{error:#}"));
            code_of(&error)
        });
        Ok(TestCounts::of_one(code == 0))
    })?;
    let code = exit_code(total, code);
    total.add(cycle);
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(code)
}

/// A failed check is a failure. Otherwise the verdict of the cycle decides.
fn exit_code(checks: TestCounts, cycle: u8) -> u8 {
    if cycle != INTERRUPTED && checks.failed > 0 { 1 } else { cycle }
}

fn timed(name: &str, step: impl FnOnce() -> Result<TestCounts>) -> Result<TestCounts> {
    say(format!("→ {name}"));
    let started = Instant::now();
    let counts = step()?;
    let mark = if counts.failed == 0 { "✓" } else { "✗" };
    say(format!(
        "{mark} {name}: {} passed, {} failed ({})",
        counts.passed,
        counts.failed,
        human(started.elapsed())
    ));
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_outweighs_the_cycle() {
        let passed = TestCounts { passed: 3, failed: 0 };
        let failed = TestCounts { passed: 3, failed: 1 };
        assert_eq!(exit_code(passed, 0), 0);
        assert_eq!(exit_code(passed, 3), 3);
        assert_eq!(exit_code(failed, 0), 1);
        assert_eq!(exit_code(failed, INTERRUPTED), INTERRUPTED);
    }
}
