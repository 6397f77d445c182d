//! The gate that every operation of the load passes: it can be held between operations and stopped.

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::lock;

/// Who wants the load at rest. The load goes on when nobody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The host, over the control channel.
    Host,
    /// The guest agent's freeze hook.
    Agent,
}

/// Held and stopped by the engine, passed by the workers.
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
    fn held(&self) -> bool {
        self.host || self.agent
    }

    fn set(&mut self, holder: Holder, value: bool) {
        match holder {
            Holder::Host => self.host = value,
            Holder::Agent => self.agent = value,
        }
    }
}

/// Right to carry out one operation.
pub(crate) struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).inside -= 1;
        self.0.changed.notify_all();
    }
}

impl Gate {
    /// Waits until `due` and then until nobody holds the gate. `None` once the load is stopped.
    pub(crate) fn pass_at(&self, due: Instant) -> Option<Pass<'_>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() && !state.held() {
                state.inside += 1;
                return Some(Pass(self));
            }
            // A held gate is left only by a notification; the timeout serves the clock alone.
            let patience = if left.is_zero() { Duration::from_secs(3600) } else { left };
            state = match self.changed.wait_timeout(state, patience) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Holds the gate and waits until no operation is under way. Returns whether it was held before.
    pub(crate) fn hold(&self, holder: Holder) -> bool {
        let mut state = lock(&self.state);
        let before = state.held();
        state.set(holder, true);
        while state.inside > 0 {
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        before
    }

    /// Takes back one holder's wish.
    pub(crate) fn release(&self, holder: Holder) {
        lock(&self.state).set(holder, false);
        self.changed.notify_all();
    }

    /// Ends all workers after their current operation.
    pub(crate) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
    }

    /// Lets new workers begin.
    pub(crate) fn open(&self) {
        lock(&self.state).stopped = false;
    }
}

/// Due times of a worker, counted from its start so that small delays do not add up.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Instant,
    step: Duration,
}

/// How far a worker may fall behind before it gives up catching up.
const PATIENCE: Duration = Duration::from_secs(1);

impl Pace {
    /// `per_second` operations a second; `None` if there are none to do.
    pub(crate) fn new(per_second: u32) -> Option<Self> {
        let step = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { next: Instant::now(), step })
    }

    /// When the next operation is due.
    pub(crate) fn next(&mut self) -> Instant {
        let now = Instant::now();
        if now.saturating_duration_since(self.next) > PATIENCE {
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
    fn a_held_gate_rests_all_work_until_the_last_holder_leaves() {
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
        assert!(!gate.hold(Holder::Host));
        assert!(gate.hold(Holder::Agent));
        gate.release(Holder::Host);
        let before = count.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(count.load(Ordering::SeqCst), before);
        gate.release(Holder::Agent);
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
        assert!(pace.next() > first && first.elapsed() < PATIENCE);
        assert!(Pace::new(0).is_none());
    }
}
