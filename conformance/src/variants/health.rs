//! Variants that judge health in another way.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::{Health, ItemView, Millis, Phase, PlatformError, ReplicationCore};
use tokio::time::Instant;

use super::difference::Difference;

/// How long trouble is a warning before it is critical.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows replication that has failed as a warning before it is critical.
#[derive(Default)]
pub(super) struct WarnsFirst {
    /// When the first call to a platform failed since replication was last seen to work.
    failing_since: Mutex<Option<Instant>>,
}

impl WarnsFirst {
    fn failing_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Difference for WarnsFirst {
    async fn item(&self, _core: &dyn ReplicationCore, mut view: ItemView) -> ItemView {
        let mut since = self.failing_since();
        if view.health == Health::Healthy {
            *since = None;
        }
        let is_new = since.is_some_and(|since| since.elapsed() < PATIENCE);
        if is_new && view.protection.phase == Phase::Protected && view.health == Health::Critical {
            view.health = Health::Warning;
        }
        view
    }

    fn repeats(&self, _error: &PlatformError) -> Option<Millis> {
        self.failing_since().get_or_insert_with(Instant::now);
        None
    }
}
