//! Which of many simulated cycles one is.

use std::fmt;

/// Which cycle it is.
#[derive(Clone, Copy)]
pub(super) struct CycleName {
    /// Its seed.
    pub(super) seed: u64,
    /// The moment at which the core was killed.
    pub(super) kill: Option<u64>,
}

impl fmt::Display for CycleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, kill } = self;
        match kill {
            None => write!(f, "seed {seed}"),
            Some(moment) => write!(f, "seed {seed}, killed at moment {moment}"),
        }
    }
}

impl CycleName {
    /// How to run the cycle again.
    pub(super) fn again(self) -> String {
        let Self { seed, kill } = self;
        match kill {
            None => format!("ROUNDTRIP_SEED={seed} runs it again"),
            Some(moment) => format!("ROUNDTRIP_SEED={seed} with --kills @{moment} runs it again"),
        }
    }
}
