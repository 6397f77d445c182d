//! What a finding about a rule means for the verdict of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Class;
use crate::verdict::Verdict;

/// How a finding counts. The catalogue mixes promises, documented limits and advice, which are not
/// scored alike: only a broken promise fails a run. A stand-in that is not as described proves
/// nothing about the core, so that the run is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The core keeps a guarantee.
    Held,
    /// The core breaks a guarantee, or failed before the rule could be judged.
    Broken,
    /// The core has the documented limit.
    AsDocumented,
    /// The core does not have the documented limit. It may be better than documented.
    DiffersFromLimit,
    /// The core follows the advice.
    Followed,
    /// The core does not follow the advice.
    NotFollowed,
    /// Nothing can be said.
    Unknown,
    /// The rule needs a capability that the core does not have.
    Skipped,
}

impl Score {
    /// The score of a rule of this class.
    #[must_use]
    pub fn of(class: Class, verdict: Verdict) -> Self {
        match (class, verdict) {
            (_, Verdict::Skipped) => Self::Skipped,
            (_, Verdict::Unknown) | (Class::StandIn, Verdict::Fail) => Self::Unknown,
            (Class::Guarantee | Class::StandIn, Verdict::Pass) => Self::Held,
            (Class::Guarantee, Verdict::Fail) => Self::Broken,
            (Class::Limitation, Verdict::Pass) => Self::AsDocumented,
            (Class::Limitation, Verdict::Fail) => Self::DiffersFromLimit,
            (Class::Advice, Verdict::Pass) => Self::Followed,
            (Class::Advice, Verdict::Fail) => Self::NotFollowed,
        }
    }

    /// What the score contributes to the verdict of its scenario and run.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Broken => Verdict::Fail,
            Self::Unknown => Verdict::Unknown,
            Self::Skipped => Verdict::Skipped,
            Self::Held | Self::AsDocumented | Self::DiffersFromLimit | Self::Followed | Self::NotFollowed => {
                Verdict::Pass
            }
        }
    }

    /// The score as reports print it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "broken",
            Self::AsDocumented => "as documented",
            Self::DiffersFromLimit => "differs from the documented limit",
            Self::Followed => "advice followed",
            Self::NotFollowed => "advice not followed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_guarantees_fail_a_run_and_stand_ins_make_it_unknown() {
        let contribution = |class| Score::of(class, Verdict::Fail).verdict();
        assert_eq!(contribution(Class::Guarantee), Verdict::Fail);
        assert_eq!(contribution(Class::StandIn), Verdict::Unknown);
        assert_eq!(contribution(Class::Limitation), Verdict::Pass);
        assert_eq!(contribution(Class::Advice), Verdict::Pass);
    }

    #[test]
    fn an_unknown_rule_of_any_class_is_never_a_pass() {
        for class in [Class::Guarantee, Class::StandIn, Class::Limitation, Class::Advice] {
            assert_eq!(Score::of(class, Verdict::Unknown).verdict(), Verdict::Unknown);
            assert_eq!(Score::of(class, Verdict::Pass).verdict(), Verdict::Pass);
        }
    }
}
