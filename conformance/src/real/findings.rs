//! What a scenario has found so far.

use std::sync::{Arc, Mutex};

use crate::missing::Missing;
use crate::outcome::{EdgeOutcome, LeftDisk};
use crate::rules::RuleLog;

/// What a scenario has found so far.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) rules: RuleLog,
    pub(crate) edges: Vec<EdgeOutcome>,
    /// What happened, in order and without times; compared with the scenario's snapshot.
    pub(crate) trace: Vec<String>,
    /// Volumes whose image files were checked.
    pub(crate) disks_left: Vec<LeftDisk>,
    /// What exceeded its time bound.
    pub(crate) slow: Vec<String>,
    /// Milliseconds from power-on to the witness's hello, for each boot in order.
    pub(crate) boots_ms: Vec<u64>,
}

impl Findings {
    /// No findings yet. After a capability was missing, rules are skipped.
    pub(crate) fn noting(missing: &Missing) -> Arc<Mutex<Self>> {
        let rules = RuleLog::default().noting(missing);
        Arc::new(Mutex::new(Self { rules, ..Self::default() }))
    }
}
