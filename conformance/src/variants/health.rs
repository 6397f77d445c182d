//! Variants that judge health in another way.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use contract::{Health, ItemId, ItemView, Phase, ReplicationCore};
use tokio::time::Instant;

use super::difference::Difference;

/// How long trouble is a warning before it is critical.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows replication that has failed as a warning before it is critical.
#[derive(Default)]
pub(super) struct WarnsFirst {
    /// When each item was last seen not to be critical: its trouble began later.
    was_well: Mutex<BTreeMap<ItemId, Instant>>,
}

#[async_trait]
impl Difference for WarnsFirst {
    async fn item(&self, _core: &dyn ReplicationCore, mut view: ItemView) -> ItemView {
        let mut was_well = self.was_well.lock().unwrap_or_else(PoisonError::into_inner);
        if view.protection.phase != Phase::Protected || view.health != Health::Critical {
            was_well.insert(view.id.clone(), Instant::now());
        } else if was_well.get(&view.id).is_some_and(|at| at.elapsed() < PATIENCE) {
            view.health = Health::Warning;
        }
        view
    }
}
