//! When the operations of a worker are due.

use std::time::{Duration, Instant};

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

    #[test]
    fn a_worker_far_behind_does_not_catch_up_in_a_burst() {
        let mut pace = Pace::new(1000).expect("a rate");
        pace.next -= Duration::from_secs(10);
        let first = pace.next();
        assert!(pace.next() > first && first.elapsed() < CATCH_UP_LIMIT);
        assert!(Pace::new(0).is_none());
    }
}
