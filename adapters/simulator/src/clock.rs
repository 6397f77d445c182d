//! The clock of a simulation.

use std::time::Duration;

use contract::{Millis, Timestamp};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Start time of every simulation: 2030-01-01, in microseconds since the Unix epoch.
const BEGINNING: u64 = 1_893_456_000_000_000;

/// The time of a tokio runtime, from a fixed start. Clones share the clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    runtime: Handle,
    origin: Instant,
}

impl SimClock {
    /// Starts a clock on the current runtime.
    ///
    /// # Panics
    /// There is no tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        Self { runtime: Handle::current(), origin: Instant::now() }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        moment(self.micros())
    }

    /// Waits for a duration.
    pub async fn sleep(&self, time: Millis) {
        tokio::time::sleep(time.into()).await;
    }

    /// The current time in microseconds since the Unix epoch.
    pub(crate) fn micros(&self) -> u64 {
        // Outside the runtime `Instant::now` would read the host's clock.
        let _inside = self.runtime.enter();
        let passed = Instant::now().saturating_duration_since(self.origin);
        BEGINNING + u64::try_from(passed.as_micros()).unwrap_or(u64::MAX - BEGINNING)
    }

    /// Waits until `micros`; returns immediately if that has passed.
    pub(crate) async fn until(&self, micros: u64) {
        let wait = micros.saturating_sub(self.micros());
        if wait > 0 {
            tokio::time::sleep(Duration::from_micros(wait)).await;
        }
    }
}

/// Converts microseconds to a timestamp of the contract.
pub(crate) fn moment(micros: u64) -> Timestamp {
    Timestamp(micros / 1000)
}

/// A duration in microseconds.
pub(crate) fn micros(time: Millis) -> u64 {
    time.0.saturating_mul(1000)
}
