//! What keeps a check or a scenario from judging a core: a capability that it lacks, or a
//! connection that it broke.

use std::sync::{Arc, OnceLock};

/// The first capability that was needed and missing, and how the core broke the protocol. Clones
/// share both.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    capability: Arc<OnceLock<String>>,
    broken: Arc<OnceLock<String>>,
}

impl Missing {
    /// Notes that a capability was needed. The first one counts: it is why nothing after it can be
    /// judged.
    pub fn note(&self, capability: &str) {
        let _ = self.capability.set(capability.to_owned());
    }

    /// The capability, if one was missing.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        self.capability.get().map(String::as_str)
    }

    /// Notes that the core gave no answer or broke the wire protocol, with the line that says how.
    pub fn note_broken(&self, line: &str) {
        let _ = self.broken.set(line.to_owned());
    }

    /// How the core broke the protocol, if it did.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// What a report says about what was skipped; `None` if nothing was missing.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        self.get().map(why)
    }
}

/// What a report says about what needs a capability that the core lacks.
#[must_use]
pub fn why(capability: &str) -> String {
    format!("needs `{capability}`, which the core does not have")
}
