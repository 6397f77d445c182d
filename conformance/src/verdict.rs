//! Verdicts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was not looked at, because it needs a capability that the core does not have. Never a
    /// pass.
    Skipped,
    /// Everything that was looked at is as required.
    Pass,
    /// Nothing can be said: the test host or a guest failed, or evidence is missing. Never a pass.
    Unknown,
    /// The core broke a rule.
    Fail,
}

impl Verdict {
    /// The worse of two verdicts: a failure stays one, whatever else is unknown.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }

    /// The worst of several verdicts. Of none it is unknown: a run of nothing proves nothing.
    #[must_use]
    pub fn worst_of(verdicts: impl Iterator<Item = Self>) -> Self {
        verdicts.reduce(Self::and).unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Fail, Pass, Unknown};
    use super::*;

    #[test]
    fn a_run_without_scenarios_is_no_pass() {
        assert_eq!(Verdict::worst_of(std::iter::empty()), Unknown);
    }

    #[test]
    fn a_failure_outranks_what_is_unknown_and_that_outranks_a_pass() {
        assert_eq!(Verdict::worst_of([Pass, Unknown, Fail].into_iter()), Fail);
        assert_eq!(Verdict::worst_of([Pass, Unknown].into_iter()), Unknown);
    }
}
