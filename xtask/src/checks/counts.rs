//! How many tests passed and failed, read from what test runners print.

/// How many tests passed and how many failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TestCounts {
    pub passed: u64,
    pub failed: u64,
}

impl TestCounts {
    /// The counts of a check that is one test.
    pub fn of_one(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed) }
    }

    /// Adds the counts of another check.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// The sum of all summaries among the lines; none without a summary.
    pub fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let summaries = lines.filter_map(|line| nextest_summary(line).or_else(|| cargo_test_summary(line)));
        summaries.reduce(|mut sum, next| {
            sum.add(next);
            sum
        })
    }
}

/// `Summary [ 1.2s] 57 tests run: 56 passed (1 slow), 1 failed, 2 skipped`
fn nextest_summary(line: &str) -> Option<TestCounts> {
    let (_, counts) = line.trim().strip_prefix("Summary [")?.split_once(']')?;
    let (run, results) = counts.split_once(" run: ")?;
    let run = first_number(run)?;
    let passed = results.split(',').find(|part| part.contains(" passed")).and_then(first_number).unwrap_or(0);
    Some(TestCounts { passed, failed: run.checked_sub(passed)? })
}

/// `test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out`
///
/// nextest prints such a line indented, as the output of a test that it counts itself.
fn cargo_test_summary(line: &str) -> Option<TestCounts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| counts.split("; ").find(|part| part.ends_with(what)).and_then(first_number);
    Some(TestCounts { passed: count(" passed")?, failed: count(" failed")? })
}

fn first_number(text: &str) -> Option<u64> {
    text.trim().split([' ', '/']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_read() {
        let cases = [
            ("     Summary [   0.005s] 12 tests run: 12 passed, 0 skipped", Some((12, 0))),
            (
                "     Summary [  61.2s] 57 tests run: 54 passed (1 slow), 2 failed, 1 timed out, 2 skipped",
                Some((54, 3)),
            ),
            ("     Summary [   0.1s] 1 test run: 0 passed, 1 failed, 0 skipped", Some((0, 1))),
            ("     Summary [   0.1s] 3/9 tests run: 2 passed, 1 failed, 0 skipped", Some((2, 1))),
            ("    Starting 12 tests across 3 binaries", None),
            ("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out", Some((3, 0))),
            ("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured", Some((3, 2))),
            ("    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured", None),
            ("test result", None),
        ];
        for (line, wanted) in cases {
            let counts = TestCounts::of_lines(std::iter::once(line));
            assert_eq!(counts.map(|counts| (counts.passed, counts.failed)), wanted, "{line}");
        }
    }

    #[test]
    fn several_summaries_add_up() {
        let lines =
            ["test result: ok. 3 passed; 0 failed", "other", "test result: FAILED. 1 passed; 1 failed"];
        assert_eq!(TestCounts::of_lines(lines.into_iter()), Some(TestCounts { passed: 4, failed: 1 }));
    }
}
