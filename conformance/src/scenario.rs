//! Scenarios, as data.

use contract::DataSync;
use serde::{Deserialize, Serialize};

/// The table, as it stands beside this crate's manifest.
const TABLE: &str = include_str!("../scenarios.toml");

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// On real guests.
    Real,
    /// In memory.
    Sim,
}

impl Tier {
    /// The tier's name, as in `scenarios.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Sim => "sim",
        }
    }
}

/// What a scenario does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// Failover, reprotect, failback, reprotect.
    Cycle,
    /// Three machines of a replication group, out to one moment and back without loss.
    Group,
    /// Failover alone, from a site to which nothing fails back.
    OutOnly,
    /// Every fault in turn, a test failover after each, and a failover whose source refuses to shut down.
    Faults,
    /// Test failover and its clean-up.
    TestFailover,
    /// Failover to a chosen address, and who can log in afterwards.
    Networks,
    /// Whole cycles in memory.
    SimCycle,
    /// Rule after rule in memory, each in a world of its own.
    SimRules,
    /// A look at each stand-in from inside a guest.
    Identity,
    /// How fast a guest writes with log and replication on and off.
    Speed,
    /// Planned failover, failback in one of its two modes, reverse replication.
    HyperV,
    /// The record of changes of each platform reaches its limit.
    TrackingLimits,
    /// Machines that each lack one thing a cloud needs, with and without repair of the copy.
    Hydration,
}

impl Script {
    /// How often it goes round if so many rounds are asked for: only what comes back to where it began goes round again.
    #[must_use]
    pub fn rounds(self, asked: u32) -> u32 {
        match self {
            Self::Cycle | Self::Group | Self::HyperV => asked,
            Self::OutOnly
            | Self::TestFailover
            | Self::Faults
            | Self::Networks
            | Self::Hydration
            | Self::TrackingLimits
            | Self::Identity
            | Self::Speed
            | Self::SimCycle
            | Self::SimRules => 1,
        }
    }
}

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
pub struct Scenario {
    /// Name; also the name of its test.
    pub name: String,
    /// Where it runs.
    pub tier: Tier,
    /// For people.
    pub title: String,
    /// What is done.
    pub script: Script,
    /// Stand-in on which the machine begins; empty where a script walks stand-ins by itself.
    #[serde(default)]
    pub source: String,
    /// Stand-in to which it fails over; empty as above.
    #[serde(default)]
    pub target: String,
    /// Further stand-ins between which machines of the script go.
    #[serde(default)]
    pub also: Vec<String>,
    /// Stand-in to which it fails back, where that is another than the one it came from.
    #[serde(default)]
    pub home: Option<String>,
    /// When a failback to Hyper-V brings the data down.
    #[serde(default)]
    pub data_sync: Option<DataSync>,
    /// A test failover starts from a point at which the applications were at rest.
    #[serde(default)]
    pub at_rest: bool,
    /// Transitions, in order.
    pub edges: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    scenario: Vec<Scenario>,
}

/// All scenarios.
///
/// # Errors
/// The table is malformed: a mistake of ours, told with its place.
pub fn all() -> anyhow::Result<Vec<Scenario>> {
    let table: Table = toml::from_str(TABLE)?;
    Ok(table.scenario)
}
