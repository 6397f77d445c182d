//! The exit code that follows from a verdict.

use crate::outcome::Verdict;

/// The exit code of a verdict: 0 conforms, 1 a rule failed, 2 conforms but exceeded a time bound,
/// 3 nothing can be said.
#[must_use]
pub fn exit_code(verdict: Verdict, slow: bool) -> u8 {
    match verdict {
        Verdict::Pass if slow => 2,
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::Unknown | Verdict::Skipped => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_bound_counts_only_for_a_run_that_conforms() {
        use Verdict::{Fail, Pass, Unknown};
        assert_eq!([Pass, Fail, Unknown].map(|verdict| exit_code(verdict, false)), [0, 1, 3]);
        assert_eq!([Pass, Fail, Unknown].map(|verdict| exit_code(verdict, true)), [2, 1, 3]);
    }
}
