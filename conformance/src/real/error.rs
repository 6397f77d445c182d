//! Why a scenario did not run to its end, and whose doing it was.

/// Why a scenario did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// The core under test broke a rule.
    #[error("{0}")]
    CoreViolation(String),
    /// The test host, a tool or the suite failed: the run proves nothing about the core.
    #[error("{0}")]
    Inconclusive(String),
}

impl From<harness::Error> for ScenarioError {
    fn from(error: harness::Error) -> Self {
        Self::Inconclusive(error.to_string())
    }
}

impl From<anyhow::Error> for ScenarioError {
    fn from(error: anyhow::Error) -> Self {
        Self::Inconclusive(format!("{error:#}"))
    }
}

impl From<contract::CoreError> for ScenarioError {
    fn from(error: contract::CoreError) -> Self {
        Self::CoreViolation(format!("the core: {error}"))
    }
}

impl From<contract::PlatformError> for ScenarioError {
    fn from(error: contract::PlatformError) -> Self {
        Self::Inconclusive(error.to_string())
    }
}
