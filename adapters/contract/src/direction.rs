//! The two sides of a protected pair, and the directions between them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A side of a protected pair. The sides never change; the active side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Where protection was enabled.
    Primary,
    /// The destination of a failover.
    Recovery,
}

impl Side {
    /// The opposite side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Recovery,
            Self::Recovery => Self::Primary,
        }
    }
}

/// Direction of a failover. A failback is a failover from the recovery side (LC-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Failover: primary to recovery.
    PrimaryToRecovery,
    /// Failback: recovery to primary.
    RecoveryToPrimary,
}

impl Direction {
    /// The direction that leaves `side`.
    #[must_use]
    pub fn from_side(side: Side) -> Self {
        match side {
            Side::Primary => Self::PrimaryToRecovery,
            Side::Recovery => Self::RecoveryToPrimary,
        }
    }
}
