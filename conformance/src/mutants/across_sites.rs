//! What is known to the faulty platforms of one core together.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use contract::{MachineId, Platform, PlatformError};

/// What the faulty platforms of one core know together.
#[derive(Debug, Default)]
pub(super) struct AcrossSites {
    /// Machines of test failovers, and whether there has been one.
    tests: Mutex<BTreeSet<MachineId>>,
    pub(super) tested: AtomicBool,
    /// The platforms.
    all: Mutex<Vec<Weak<dyn Platform>>>,
}

impl AcrossSites {
    pub(super) fn tests(&self) -> MutexGuard<'_, BTreeSet<MachineId>> {
        self.tests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> MutexGuard<'_, Vec<Weak<dyn Platform>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a site that does not answer, if there is one.
    pub(super) async fn silent_site(&self) -> Result<(), PlatformError> {
        let all: Vec<_> = self.all().iter().filter_map(Weak::upgrade).collect();
        for platform in all {
            platform.site().await?;
        }
        Ok(())
    }
}
