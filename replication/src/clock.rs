//! The time of a core, and waiting.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use contract::{Millis, Timestamp};

/// Where a core takes the time from. A core waits only by this, so that time can be virtual.
#[async_trait]
pub trait TimeSource: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Waits until a time; returns at once if it has passed.
    async fn sleep_until(&self, time: Timestamp);
}

/// The time for job timestamps, for the age of recovery points and for pauses. Clones share one
/// source.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The host's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// A clock that reads the time from a function. It advances as the timers of the tokio runtime
    /// do, which may be virtual.
    #[must_use]
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::from_source(Arc::new(OfRuntime(now)))
    }

    /// Any other clock.
    #[must_use]
    pub fn from_source(source: Arc<dyn TimeSource>) -> Self {
        Self(source)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Waits for a duration.
    pub(crate) async fn sleep(&self, time: Millis) {
        self.0.sleep_until(self.0.now() + time).await;
    }
}

/// Time from a function, and tokio's timers.
struct OfRuntime<F>(F);

#[async_trait]
impl<F: Fn() -> Timestamp + Send + Sync> TimeSource for OfRuntime<F> {
    fn now(&self) -> Timestamp {
        (self.0)()
    }

    async fn sleep_until(&self, time: Timestamp) {
        tokio::time::sleep(time.since(self.now()).into()).await;
    }
}

/// If a tick is not later than this, the next one keeps to the rhythm.
const PUNCTUAL: Millis = Millis(5);

/// Ticks at an interval. After a late tick the interval begins anew.
pub(crate) struct Ticks {
    clock: Clock,
    every: Millis,
    next: Timestamp,
    /// Longest time to wait for the next tick, whatever happens to the clock meanwhile.
    longest: Millis,
}

impl Ticks {
    /// The first tick comes after `first`.
    pub(crate) fn start(clock: Clock, first: Millis, every: Millis) -> Self {
        Self { next: clock.now() + first, clock, every, longest: first }
    }

    /// The next tick comes after `pause`, instead of at its time.
    pub(crate) fn pause(&mut self, pause: Millis) {
        (self.next, self.longest) = (self.clock.now() + pause, pause);
    }

    /// Waits for a tick. Without being polled to its end it has no effect.
    pub(crate) async fn tick(&mut self) {
        let wait = self.next.since(self.clock.now()).min(self.longest);
        self.clock.sleep(wait).await;
        let now = self.clock.now();
        let punctual = now.since(self.next) <= PUNCTUAL;
        self.next = (if punctual { self.next } else { now }) + self.every;
        self.longest = self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, Instant};

    async fn started(first: u64, every: u64) -> (Ticks, Instant) {
        let origin = Instant::now();
        let now = move || Timestamp(1_000 + Millis::from(origin.elapsed()).0);
        (Ticks::start(Clock::new(now), Millis(first), Millis(every)), origin)
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_keep_their_rhythm_while_the_work_between_them_is_short() {
        let (mut ticks, origin) = started(10, 100).await;
        for expected in [10, 110, 210] {
            ticks.tick().await;
            assert_eq!(origin.elapsed().as_millis(), expected);
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_late_tick_the_interval_begins_anew() {
        let (mut ticks, origin) = started(10, 100).await;
        ticks.tick().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        ticks.tick().await;
        ticks.tick().await;
        assert_eq!(origin.elapsed().as_millis(), 260);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_replaces_the_next_tick() {
        let (mut ticks, origin) = started(10, 100).await;
        ticks.tick().await;
        ticks.pause(Millis(400));
        ticks.tick().await;
        ticks.tick().await;
        assert_eq!(origin.elapsed().as_millis(), 510);
    }
}
