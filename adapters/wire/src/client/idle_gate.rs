//! Holds virtual time while a core is at work.
//!
//! A runtime of tokio with a paused clock advances it as soon as nothing can run. It does not while
//! blocking work is in flight, so the gate keeps a blocking task in flight from the moment at which
//! a message is sent to the core until the core has said that it has handled all of them
//! (`clock.idle`).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::Timestamp;
use tokio::runtime::Handle;

use crate::connection::Observer;
use crate::error::WireError;
use crate::protocol::{Connected, IDLE_WITHIN, Time};

/// After this time a wait ends even if the connection has not ended, which it should have.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2 * IDLE_WITHIN.as_secs());

/// Holds the paused clock of a tokio runtime while one core is at work.
pub struct IdleGate {
    runtime: Handle,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Whether time depends on the core: from the start until its connection ends.
    holds: bool,
    /// Whether the time is virtual for the core, which the handshake decides.
    tells: bool,
    /// The time that the core knows.
    told: Option<Timestamp>,
    sent: u64,
    idle: Option<u64>,
    /// Since when the core has been at work, by the host's clock.
    since: Instant,
    /// Whether a blocking task waits.
    waits: bool,
}

impl State {
    fn at_work(&self) -> bool {
        self.holds && self.idle != Some(self.sent)
    }
}

impl IdleGate {
    /// A gate for a core that is about to be opened: time stands still until the core is idle.
    /// `now` reads the clock of the current runtime.
    ///
    /// # Panics
    /// There is no tokio runtime.
    pub fn close(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Arc<Self> {
        let state = State {
            holds: true,
            tells: false,
            told: None,
            sent: 0,
            idle: None,
            since: Instant::now(),
            waits: false,
        };
        let gate = Arc::new(Self {
            runtime: Handle::current(),
            now: Box::new(now),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        gate.hold(gate.state());
        gate
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a blocking task is in flight while the core is at work.
    fn hold(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.at_work() && !state.waits {
            state.waits = true;
            drop(state);
            let gate = Arc::clone(self);
            drop(self.runtime.spawn_blocking(move || gate.wait()));
        }
    }

    fn wait(&self) {
        let waited = self.changed.wait_timeout_while(self.state(), GIVE_UP_AFTER, |state| state.at_work());
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.holds &= !timeout.timed_out();
        state.waits = false;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }
}

impl Observer for Arc<IdleGate> {
    fn connected(&self, connected: &Connected) {
        self.change(|state| match connected.time {
            Time::Virtual => (state.tells, state.told) = (true, Some(connected.now)),
            Time::System => state.holds = false,
        });
    }

    fn time_to_tell(&self) -> Option<Timestamp> {
        let now = (self.now)();
        let mut state = self.state();
        let new = state.tells && state.told != Some(now);
        new.then(|| *state.told.insert(now))
    }

    fn sent(&self, total: u64) {
        let mut state = self.state();
        if !state.at_work() {
            state.since = Instant::now();
        }
        state.sent = total;
        self.hold(state);
    }

    fn idle(&self, received: u64) {
        self.change(|state| {
            if state.idle.is_none_or(|before| before < received) {
                // The core has come on; it has as long for what is left.
                state.since = Instant::now();
            }
            state.idle = Some(received);
        });
    }

    fn takes_turns(&self) -> bool {
        let state = self.state();
        state.holds && state.tells
    }

    fn overdue(&self) -> Option<WireError> {
        let state = self.state();
        let overdue = state.at_work() && state.since.elapsed() > IDLE_WITHIN;
        overdue.then_some(WireError::NotIdle { sent: state.sent })
    }

    fn ended(&self) {
        self.change(|state| state.holds = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Millis;

    fn virtual_connection() -> Connected {
        Connected {
            protocol: String::new(),
            time: Time::Virtual,
            now: Timestamp(5),
            state_dir: String::new(),
            sites: Vec::new(),
            run: String::new(),
        }
    }

    /// Whether virtual time stands still while the host's advances by 30 ms.
    async fn time_stands_still() -> bool {
        let (done, waiting) = tokio::sync::oneshot::channel();
        let began = tokio::time::Instant::now();
        // Not a blocking task of the runtime, which would hold the time itself.
        let host = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            done.send(()).expect("the test waits");
        });
        waiting.await.expect("the thread ends");
        host.join().expect("the thread ends");
        began.elapsed().is_zero()
    }

    #[tokio::test(start_paused = true)]
    async fn time_advances_only_while_the_core_is_idle() {
        let gate = IdleGate::close(|| Timestamp(5));
        gate.connected(&virtual_connection());
        gate.sent(1);
        gate.idle(0);
        let sleeping = tokio::spawn(tokio::time::sleep(Millis(3_600_000).into()));
        assert!(time_stands_still().await);
        assert!(!sleeping.is_finished(), "the core has not handled the message");
        gate.idle(1);
        sleeping.await.expect("the hour passes");
        gate.sent(2);
        let sleeping = tokio::spawn(tokio::time::sleep(Millis(1).into()));
        assert!(time_stands_still().await);
        assert!(!sleeping.is_finished(), "the core has got another message");
        gate.ended();
        sleeping.await.expect("a core that is gone does not hold the time");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_told_when_it_has_changed() {
        let origin = tokio::time::Instant::now();
        let gate = IdleGate::close(move || Timestamp(5 + Millis::from(origin.elapsed()).0));
        gate.connected(&virtual_connection());
        gate.idle(0);
        assert_eq!(gate.time_to_tell(), None, "the handshake has told it");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(gate.time_to_tell(), Some(Timestamp(25)));
        assert_eq!(gate.time_to_tell(), None);
    }
}
