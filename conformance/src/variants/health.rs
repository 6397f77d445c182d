//! Variants that judge health in another way.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::{Health, ItemId, ItemView, Phase, ReplicationCore};
use tokio::time::Instant;

use super::difference::Difference;

/// How long trouble is a warning before it is critical.
const PATIENCE: Duration = Duration::from_secs(20);

/// Shows replication that has failed as a warning before it is critical.
#[derive(Default)]
pub(super) struct WarnsFirst {
    since: Mutex<BTreeMap<ItemId, Instant>>,
}

#[async_trait]
impl Difference for WarnsFirst {
    async fn item(&self, _core: &dyn ReplicationCore, mut view: ItemView) -> ItemView {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = view.protection.phase == Phase::Protected && view.health == Health::Critical;
        if !fails {
            since.remove(&view.id);
        } else if since.entry(view.id.clone()).or_insert_with(Instant::now).elapsed() < PATIENCE {
            view.health = Health::Warning;
        }
        view
    }
}
