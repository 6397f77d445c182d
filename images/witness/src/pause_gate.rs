//! The gate that every operation of the workload passes: it can be paused between operations, and
//! stopped.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::sync::lock;

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
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
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

/// Due times of a worker's operations. They count from its start, so small delays do not
/// accumulate.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Instant,
    step: Duration,
}

/// How far a worker may fall behind before it stops catching up.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);

impl Pace {
    /// A pace of `per_second` operations a second; `None` if it is 0.
    pub(crate) fn new(per_second: u32) -> Option<Self> {
        let step = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { next: Instant::now(), step })
    }

    /// When the next operation is due.
    pub(crate) fn next(&mut self) -> Instant {
        let now = Instant::now();
        if now.saturating_duration_since(self.next) > CATCH_UP_LIMIT {
            self.next = now;
        }
        let due = self.next;
        self.next += self.step;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_paused_gate_stops_all_work_until_the_last_request_is_withdrawn() {
        let gate = Arc::new(Gate::default());
        let count = Arc::new(AtomicU32::new(0));
        let worker = std::thread::spawn({
            let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
            move || {
                while let Some(_pass) = gate.pass_at(Instant::now()) {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        assert!(!gate.pause(PauseSource::Host));
        assert!(gate.pause(PauseSource::Agent));
        gate.resume(PauseSource::Host);
        let before = count.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(count.load(Ordering::SeqCst), before);
        gate.resume(PauseSource::Agent);
        while count.load(Ordering::SeqCst) == before {
            std::thread::yield_now();
        }
        gate.stop();
        worker.join().expect("the worker ends");
        assert!(gate.pass_at(Instant::now()).is_none());
    }

    #[test]
    fn a_worker_far_behind_does_not_catch_up_in_a_burst() {
        let mut pace = Pace::new(1000).expect("a rate");
        pace.next -= Duration::from_secs(10);
        let first = pace.next();
        assert!(pace.next() > first && first.elapsed() < CATCH_UP_LIMIT);
        assert!(Pace::new(0).is_none());
    }
}
