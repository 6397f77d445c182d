//! Virtual time in the process of a core.
//!
//! The core runs on one thread, on a tokio runtime with a paused clock. Such a runtime lets a timer
//! expire when nothing else can run and no blocking work is in flight. The only timer of the
//! process belongs to [`report_idle`]; that it expires shows that the core has no work in progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::Timestamp;
use tokio::sync::watch;

use crate::connection::{Connection, Observer};
use crate::protocol::{IDLE, Idle};

/// The shortest time that a timer of tokio measures.
const TICK: Duration = Duration::from_millis(1);

/// What the suite has sent so far.
pub(super) struct Incoming {
    /// Number of messages whose work has begun.
    received: watch::Sender<u64>,
    /// The time that the suite told last, in milliseconds since the Unix epoch.
    time: AtomicU64,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self { received: watch::Sender::new(0), time: AtomicU64::new(0) }
    }

    pub(super) fn time(&self) -> Timestamp {
        Timestamp(self.time.load(Ordering::Acquire))
    }

    pub(super) fn received(&self) -> watch::Receiver<u64> {
        self.received.subscribe()
    }
}

impl Observer for Incoming {
    fn received(&self, total: u64) {
        self.received.send_replace(total);
    }

    fn told(&self, time: Timestamp) {
        self.time.store(time.0, Ordering::Release);
    }
}

/// Sends `clock.idle` whenever the core has handled all messages that it has received, once for
/// each number of messages.
pub(super) async fn report_idle(connection: Connection, mut received: watch::Receiver<u64>) {
    loop {
        let handled = *received.borrow_and_update();
        tokio::time::sleep(TICK).await;
        // A message may have come at the moment at which the timer expired.
        match received.has_changed() {
            Ok(true) => continue,
            Ok(false) => connection.notify(IDLE, &Idle { received: handled }),
            Err(_) => return,
        }
        if received.changed().await.is_err() {
            return;
        }
    }
}
