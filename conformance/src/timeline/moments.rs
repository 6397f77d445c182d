//! Moments of a scenario that its report draws: what happened to machines, sites and recovery
//! points, and when. Steps are not among them; they are in the run's progress.

use serde::{Deserialize, Serialize};

/// The file of a scenario that holds its moments, one a line.
pub const TIMELINE: &str = "timeline.jsonl";

/// A moment of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the scenario began.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Happening {
    /// A machine was powered on.
    PowerOn {
        /// The machine.
        machine: String,
        /// The directory of the boot's logs, relative to the scenario's directory. The times of
        /// acknowledgements there count from this moment.
        boot: String,
    },
    /// Its witness said hello.
    Hello {
        /// The machine.
        machine: String,
    },
    /// A site was lost.
    SiteLost {
        /// The stand-in.
        site: String,
    },
    /// A fault was injected into a site.
    Fault {
        /// The stand-in.
        site: String,
        /// The fault.
        fault: String,
    },
    /// Every fault of a site was healed.
    Healed {
        /// The stand-in.
        site: String,
    },
    /// The moment of a recovery point, as the core states it.
    Point {
        /// The machine.
        machine: String,
        /// The recovery point.
        point: String,
    },
    /// The acknowledgement of the last record that an edge's disks hold: where they are cut.
    Cut {
        /// The edge.
        edge: String,
        /// The machine.
        machine: String,
    },
    /// The moment up to which acknowledged writes count as lost.
    Stopped {
        /// The edge.
        edge: String,
        /// The machine.
        machine: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_one_flat_line() {
        let what = Happening::Point { machine: "shop".into(), point: "p-1".into() };
        let moment = Moment { at_ms: 1_200, what };
        let line = serde_json::to_string(&moment).unwrap();
        assert_eq!(line, r#"{"at_ms":1200,"what":"point","machine":"shop","point":"p-1"}"#);
        assert_eq!(serde_json::from_str::<Moment>(&line).unwrap(), moment);
    }
}
