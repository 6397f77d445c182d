//! The interface between a scenario on guests and the runner.

use async_trait::async_trait;
use standins::OwnFailure;

use crate::blame::ScenarioError;
use crate::outcome::ScenarioOutcome;

/// A scenario on guests that is ready to run. The runner calls [`run`](Self::run),
/// [`record`](Self::record) and [`close`](Self::close) in this order, the last two also after a
/// failure or an interrupt.
#[async_trait]
pub trait ScenarioRun: Send + Sync {
    /// Runs the script.
    ///
    /// # Errors
    /// The first error that ended the script.
    async fn run(&self) -> Result<(), ScenarioError>;

    /// Moves the findings into the outcome.
    async fn record(&self, outcome: &mut ScenarioOutcome);

    /// The ends so far of QEMUs and storage daemons that nobody had asked for.
    async fn unexplained_ends(&self) -> Vec<OwnFailure>;

    /// Stops the core and removes every guest. With `--keep`, the guests of a failed scenario stay.
    ///
    /// # Errors
    /// The core did not close, or a guest or daemon could not be removed.
    async fn close(&self, failed: bool) -> Result<(), ScenarioError>;
}
