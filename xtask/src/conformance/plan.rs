//! What one tier has to run.

use super::scenarios::Tier;

/// The part of a run that one tier has to do.
pub struct TierPlan {
    /// The tier.
    pub tier: Tier,
    /// The nextest expression that selects the tests.
    pub expression: String,
    /// The names of these tests.
    pub tests: Vec<String>,
}
