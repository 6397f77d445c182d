//! How often a simulated cycle is repeated over the same machine, and what each round took.

use std::path::Path;

use anyhow::Result;

use crate::context::RunContext;
use crate::evidence::Evidence;
use crate::outcome::EdgeOutcome;
use crate::sim::early_end::EarlyEnd;
use crate::soak::{CycleLog, Edges};

/// The rounds of a cycle.
pub(super) struct Rounds {
    count: u32,
    log: Option<CycleLog>,
}

impl Rounds {
    /// So many rounds.
    pub(super) fn new(count: u32) -> Self {
        Self { count, log: None }
    }

    /// As many as the run asks for. What each took is noted in the evidence, if there are several.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub(super) fn noted(context: &RunContext, evidence: &Evidence, seed: u64) -> Result<Self> {
        let log = CycleLog::begin(evidence, context.cycles, Some(seed))?;
        Ok(Self { count: context.cycles, log })
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Notes the end of a round. `edges` are those of all rounds, `core` is the directory of the
    /// core's state.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub(super) fn ended(&mut self, edges: &[EdgeOutcome], core: &Path) -> Result<(), EarlyEnd> {
        let Some(log) = &mut self.log else { return Ok(()) };
        log.ends(Edges::of(edges), core).map_err(|error| EarlyEnd::inconclusive(format!("{error:#}")))
    }
}
