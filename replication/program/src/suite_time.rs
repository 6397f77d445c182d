//! The suite's virtual clock as the core's source of time.

use std::future::pending;

use async_trait::async_trait;
use contract::Timestamp;
use replication::TimeSource;
use wire::server::RemoteClock;

/// The suite's virtual clock.
pub(crate) struct SuiteTime(pub(crate) RemoteClock);

#[async_trait]
impl TimeSource for SuiteTime {
    fn now(&self) -> Timestamp {
        self.0.virtual_now()
    }

    async fn sleep_until(&self, time: Timestamp) {
        if self.0.sleep_until(time).await.is_err() {
            // The connection has ended, and with it the process.
            pending::<()>().await;
        }
    }
}
