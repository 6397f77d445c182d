//! Notes what each cycle of a script took that runs several over the same machines.

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::soak::{CycleLog, Edges};

/// The cycles of a script. There is no log of a single one.
pub(crate) struct Cycles<'a> {
    context: &'a ScenarioContext,
    log: Option<CycleLog>,
}

impl<'a> Cycles<'a> {
    /// Call it as the first cycle begins.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub(crate) fn begin(context: &'a ScenarioContext) -> Result<Self, ScenarioError> {
        let log = CycleLog::begin(&context.evidence, context.run.cycles, None).map_err(unknown)?;
        Ok(Self { context, log })
    }

    /// Notes the end of a cycle of the machines of these contexts.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub(crate) fn ended<'c>(
        &mut self,
        machines: impl IntoIterator<Item = &'c ScenarioContext>,
    ) -> Result<(), ScenarioError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let of = |machine: &ScenarioContext| Edges::of(&machine.findings().edges);
        let edges = machines.into_iter().map(of).fold(Edges::default(), Edges::and);
        log.ends(edges, self.context.core_dir().as_std_path()).map_err(unknown)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unknown(error: anyhow::Error) -> ScenarioError {
    ScenarioError::Inconclusive(format!("{error:#}"))
}
