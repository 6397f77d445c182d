//! The clock of a simulated world.

use std::time::Duration;

use contract::{Millis, Timestamp};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// When every simulated world begins: 2030-01-01, in microseconds since the Unix epoch.
const BEGINNING: u64 = 1_893_456_000_000_000;

/// Time as its runtime counts it, from a fixed beginning. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    runtime: Handle,
    origin: Instant,
}

impl SimClock {
    /// Begins to count on the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        Self { runtime: Handle::current(), origin: Instant::now() }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        moment(self.micros())
    }

    /// Lets time pass.
    pub async fn sleep(&self, time: Millis) {
        tokio::time::sleep(time.into()).await;
    }

    /// The present in microseconds since the Unix epoch.
    pub(crate) fn micros(&self) -> u64 {
        // A thread outside the runtime would read the host's clock instead.
        let _inside = self.runtime.enter();
        let passed = Instant::now().saturating_duration_since(self.origin);
        BEGINNING + u64::try_from(passed.as_micros()).unwrap_or(u64::MAX - BEGINNING)
    }

    /// Waits until `micros`, or not at all if that has passed.
    pub(crate) async fn until(&self, micros: u64) {
        let wait = micros.saturating_sub(self.micros());
        if wait > 0 {
            tokio::time::sleep(Duration::from_micros(wait)).await;
        }
    }
}

/// Microseconds as the contract counts time.
pub(crate) fn moment(micros: u64) -> Timestamp {
    Timestamp(micros / 1000)
}

/// A duration in microseconds.
pub(crate) fn micros(time: Millis) -> u64 {
    time.0.saturating_mul(1000)
}
