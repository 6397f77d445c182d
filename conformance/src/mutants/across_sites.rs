//! What the faulty platforms of one core know together.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use contract::{MachineId, Platform, PlatformError};
use nbd::Served;

/// What the faulty platforms of one core know together.
#[derive(Default)]
pub(super) struct AcrossSites {
    /// Machines of test failovers.
    tests: Mutex<BTreeSet<MachineId>>,
    /// Whether there has been a test failover.
    pub(super) tested: AtomicBool,
    /// The platforms.
    all: Mutex<Vec<Weak<dyn Platform>>>,
    /// Disks that are shown instead of those of a site.
    served: Mutex<Vec<Served>>,
}

impl AcrossSites {
    /// Adds the platform of a site.
    pub(super) fn add(&self, platform: &Arc<dyn Platform>) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(platform));
    }

    /// The platforms of all sites.
    pub(super) fn all(&self) -> Vec<Arc<dyn Platform>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }

    /// Goes on serving disks.
    pub(super) fn keep(&self, served: Vec<Served>) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).extend(served);
    }

    /// Machines of test failovers.
    pub(super) fn tests(&self) -> MutexGuard<'_, BTreeSet<MachineId>> {
        self.tests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a site that does not answer, if there is one.
    pub(super) async fn silent_site(&self) -> Result<(), PlatformError> {
        for platform in self.all() {
            platform.site().await?;
        }
        Ok(())
    }
}
