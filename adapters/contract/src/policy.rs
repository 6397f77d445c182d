//! Replication policies: intervals, retention and consistency.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ComponentId, Direction, Millis, PlatformKind, PolicyId, SiteId};

/// A replication policy. Everything in it may be changed until it is deleted, except in a failback
/// policy (PO-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// The platform of the machines to which it applies. It determines the longest retention
    /// (RP-12, RP-13) and whether there is a failback policy (PO-01).
    pub source: PlatformKind,
    /// The longest time between two transfers.
    pub interval: Millis,
    /// Retention: how long a recovery point can be chosen. The newest point can always be chosen.
    pub retention: Millis,
    /// The longest time between two application-consistent points, and from the start of
    /// replication to the first one; `None`: never (RP-06).
    pub app_consistent_every: Option<Millis>,
    /// Age of the newest received data above which an item's health is [`crate::Health::Warning`]
    /// (MO-01). It is an alarm, not a guarantee (C-21).
    pub rpo_threshold: Millis,
    /// Points beyond this number are merged away before their retention ends, oldest first; `None`:
    /// no limit. A core may let up to twice as many accumulate, to merge many at once.
    pub most_points: Option<u32>,
}

impl Policy {
    /// One day.
    pub const DAY: Millis = Millis(24 * 60 * 60 * 1000);

    /// The default policy for machines of a platform: the longest retention it allows, an
    /// application-consistent point every hour, an alarm after 15 minutes.
    #[must_use]
    pub fn for_machines_of(source: PlatformKind, interval: Millis) -> Self {
        Self {
            source,
            interval,
            retention: Self::longest_retention(source),
            app_consistent_every: Some(Millis(60 * 60 * 1000)),
            rpo_threshold: Millis(15 * 60 * 1000),
            most_points: None,
        }
    }

    /// The longest retention: 24 hours for Hyper-V (RP-12), 72 hours for all others (RP-13).
    #[must_use]
    pub fn longest_retention(source: PlatformKind) -> Millis {
        source.profile().longest_retention
    }

    /// The failback policy: alarm, retention and frequency of application-consistent points are
    /// fixed (PO-04); interval and limit are those of the failover policy. `None` if the platform
    /// has no failback policy.
    #[must_use]
    pub fn failback(&self) -> Option<Self> {
        self.source.profile().failback_policy.then_some(Self {
            retention: Self::DAY,
            app_consistent_every: Some(Millis(60 * 60 * 1000)),
            rpo_threshold: Millis(15 * 60 * 1000),
            ..*self
        })
    }
}

/// A policy as reported by its core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyView {
    /// Its name.
    pub id: PolicyId,
    /// Its content.
    pub policy: Policy,
    /// Its direction. A failback policy is created with its counterpart and cannot be changed
    /// (PO-03).
    pub direction: Direction,
    /// The policy for the other direction, if there is a separate one.
    pub counterpart: Option<PolicyId>,
    /// The configuration servers to which a failback policy applies, each with its site: those of
    /// all sites of the policy's platform. No explicit association is needed (PO-02). Empty for a
    /// failover policy.
    #[serde(default)]
    pub configuration_servers: Vec<(SiteId, ComponentId)>,
}
