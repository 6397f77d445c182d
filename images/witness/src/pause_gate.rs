//! The gate that every operation of the workload passes: it can be paused between operations, and
//! stopped.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::sync::{Condvar, Mutex, lock};

/// Source of a pause request. The workload continues when there is no request left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseSource {
    /// The host, over the control channel.
    Host,
    /// The guest agent's freeze hook.
    Agent,
}

/// Paused and stopped by the engine, passed by the workers.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    host: bool,
    agent: bool,
    stopped: bool,
    inside: usize,
}

impl State {
    fn paused(&self) -> bool {
        self.host || self.agent
    }

    fn set(&mut self, source: PauseSource, value: bool) {
        match source {
            PauseSource::Host => self.host = value,
            PauseSource::Agent => self.agent = value,
        }
    }
}

/// Permission for one operation.
pub(crate) struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).inside -= 1;
        self.0.changed.notify_all();
    }
}

impl Gate {
    /// Waits until `due` and until the gate is not paused. `None` once the workload is stopped.
    pub(crate) fn pass_at(&self, due: Instant) -> Option<Pass<'_>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() && !state.paused() {
                state.inside += 1;
                return Some(Pass(self));
            }
            // Only a notification ends a pause; the timeout is for the due time alone.
            let patience = if left.is_zero() { Duration::from_secs(3600) } else { left };
            state = match self.changed.wait_timeout(state, patience) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Pauses the gate and waits until no operation is in progress. Returns whether it was paused
    /// before.
    pub(crate) fn pause(&self, source: PauseSource) -> bool {
        let mut state = lock(&self.state);
        let before = state.paused();
        state.set(source, true);
        while state.inside > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        before
    }

    /// Withdraws one pause request.
    pub(crate) fn resume(&self, source: PauseSource) {
        lock(&self.state).set(source, false);
        self.changed.notify_all();
    }

    /// Ends all workers after their current operation.
    pub(crate) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// Lets new workers start.
    pub(crate) fn open(&self) {
        lock(&self.state).stopped = false;
    }
}
