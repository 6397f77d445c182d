//! The rows of `scenarios.toml`: which scenarios there are, and between which sites each one runs.
//!
//! A row names a script. The scripts of the real tier are in `real/scenarios`, where each one also
//! states its edges; those of the simulated tier are in `sim`.

use contract::DataSync;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::RuleId;

/// The scenario that runs the checks in memory.
pub const CHECKS: &str = "sim-rules";

/// The text of `scenarios.toml`, which lies beside this crate's manifest.
const TABLE: &str = include_str!("../scenarios.toml");

/// What a scenario runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Real guests.
    Real,
    /// The simulator, in memory.
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

/// One scenario: a row of `scenarios.toml`.
#[derive(Clone, Debug, Deserialize)]
pub struct Scenario {
    /// Its name, which is also the name of its test.
    pub name: String,
    /// What it runs on.
    pub tier: Tier,
    /// One line for people.
    pub title: String,
    /// The code that it runs.
    pub script: String,
    /// Stand-in on which the machine runs first; empty if the script chooses its stand-ins itself.
    #[serde(default)]
    pub source: String,
    /// Stand-in to which the machine fails over; empty if the script chooses its stand-ins itself.
    #[serde(default)]
    pub target: String,
    /// Stand-in to which the machine fails back, if that is not the one where it ran first.
    #[serde(default)]
    pub failback_to: Option<String>,
    /// More stand-ins, between which further machines of the script fail over.
    #[serde(default)]
    pub more_sites: Vec<String>,
    /// When a failback to Hyper-V downloads the data.
    #[serde(default)]
    pub data_sync: Option<DataSync>,
    /// A test failover starts from an application-consistent recovery point.
    #[serde(default)]
    pub app_consistent: bool,
    /// Shape of the machine's disks, from `images::shape`; empty for the ordinary one.
    #[serde(default)]
    pub shape: String,
    /// The original machine is powered on again before the reprotection.
    #[serde(default)]
    pub original_restarts: bool,
    /// The recovered machine is shut down and started again, before the commit and after it.
    #[serde(default)]
    pub restarts: bool,
    /// The machine has two network cards, with static addresses by predictable names.
    #[serde(default)]
    pub two_nics: bool,
    /// The machine is reported as Windows, and its system disk has a Windows volume.
    #[serde(default)]
    pub windows: bool,
    /// Rules that a run of a scenario on guests promises to judge. One that it did not judge is
    /// unknown, so that a check that was passed over is never taken for one that passed.
    #[serde(default)]
    pub promises: Vec<RuleId>,
    /// Names of the edges that one run of the script judges. They are not in the row: the code of
    /// the script states them, and [`crate::real::scenarios`] fills them in.
    #[serde(skip)]
    pub edges: Vec<String>,
    /// Whether the script ends where it began, so that `--cycles N` can run it N times. Filled in
    /// like the edges.
    #[serde(skip)]
    pub repeatable: bool,
}

impl Scenario {
    /// How many times the script runs if `asked` cycles were asked for: only a script that ends
    /// where it began can run again on the same machines.
    #[must_use]
    pub fn rounds(&self, asked: u32) -> u32 {
        if self.repeatable { asked } else { 1 }
    }
}

#[derive(Deserialize)]
struct Table {
    scenario: Vec<Scenario>,
}

/// Every row of `scenarios.toml`, without what the scripts' code fills in.
///
/// # Errors
/// The table is malformed; the error names the line.
pub fn all() -> anyhow::Result<Vec<Scenario>> {
    let table: Table = toml::from_str(TABLE)?;
    Ok(table.scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeatable_script_runs_as_often_as_asked() {
        let mut scenario = all().unwrap().remove(0);
        assert_eq!(scenario.rounds(3), 1);
        scenario.repeatable = true;
        assert_eq!(scenario.rounds(3), 3);
    }
}
