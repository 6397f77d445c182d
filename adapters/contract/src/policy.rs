//! Replication policies: how often, how long, and how consistent.

use serde::{Deserialize, Serialize};

use crate::{ComponentId, Direction, Millis, PlatformKind, PolicyId, SiteId};

/// What a replication policy says. All of it may be changed until the policy is deleted, but not in a failback
/// policy (PO-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Which machines it is for. It decides how long points may be kept (RP-12, RP-13) and whether there is a
    /// failback policy (PO-01).
    pub source: PlatformKind,
    /// Time between two transfers.
    pub interval: Millis,
    /// How long a recovery point can be chosen. The newest one can always be.
    pub retention: Millis,
    /// How often a point is taken with the applications at rest; `None`: never (RP-06).
    pub app_consistent_every: Option<Millis>,
    /// Age of the newest received data from which an item's health is [`crate::Health::Warning`] (MO-01). An alarm
    /// and no promise (C-21).
    pub rpo_threshold: Millis,
    /// Points beyond this number are merged away, oldest first, before their time is over; `None`: no such limit.
    /// A core may let twice as many gather, to merge many at once.
    pub most_points: Option<u32>,
}

impl Policy {
    /// A day.
    pub const DAY: Millis = Millis(24 * 60 * 60 * 1000);

    /// What suits machines of a platform: the longest retention it allows, an application-consistent point an
    /// hour, an alarm after 15 minutes.
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

    /// The longest time points may be kept: 24 hours for Hyper-V (RP-12), 72 hours for all others (RP-13).
    #[must_use]
    pub fn longest_retention(source: PlatformKind) -> Millis {
        match source {
            PlatformKind::HyperV => Self::DAY,
            PlatformKind::Vmware | PlatformKind::Physical | PlatformKind::Azure => Millis(3 * Self::DAY.0),
        }
    }

    /// The policy for the way back: fixed alarm, retention and frequency of application-consistent points (PO-04);
    /// interval and limit are those of the way out. `None` where the way back has none of its own.
    #[must_use]
    pub fn failback(&self) -> Option<Self> {
        match self.source {
            PlatformKind::Vmware | PlatformKind::Physical => Some(Self {
                retention: Self::DAY,
                app_consistent_every: Some(Millis(60 * 60 * 1000)),
                rpo_threshold: Millis(15 * 60 * 1000),
                ..*self
            }),
            PlatformKind::HyperV | PlatformKind::Azure => None,
        }
    }
}

/// A policy as its core shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// Its name.
    pub id: PolicyId,
    /// What it says.
    pub policy: Policy,
    /// The way it is for. The policy for the way back is made with its other half and cannot be changed (PO-03).
    pub direction: Direction,
    /// The policy of the same pair for the other way, if that has one of its own.
    pub counterpart: Option<PolicyId>,
    /// The configuration servers that a failback policy leads back to, each with its site: those of all sites whose
    /// machines it is for. Nobody has to associate them (PO-02). Empty for the way out.
    #[serde(default)]
    pub configuration_servers: Vec<(SiteId, ComponentId)>,
}
