//! What a precondition consists of.

use contract::ErrorCode;

use crate::preconditions::facts::Facts;
use crate::preconditions::way::{Way, When};
use crate::table::Pair;

/// One precondition.
pub struct Row {
    /// Id of the rule.
    pub rule: &'static str,
    /// Error code of the refusal.
    pub code: ErrorCode,
    /// When it is checked.
    pub when: When,
    /// Operations it applies to.
    pub ways: &'static [Way],
    /// Pairs it applies to.
    pub pairs: &'static [Pair],
    /// What it examines.
    pub looks_at: &'static str,
    /// Returns what is wrong and how to correct it; `None` if the precondition is met.
    pub(super) violation: fn(&Facts) -> Option<String>,
}
