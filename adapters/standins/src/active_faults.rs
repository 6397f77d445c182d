//! The faults that a site has, and their current state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::{Bytes, DiskId, MachineId};
use harness::relay::{LinkCondition, Relay, Tally, Upstream};
use harness::storage::WriteFault;
use tokio::sync::watch;

/// A fault, which lasts until [`StandInSite::heal`](crate::StandInSite::heal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteFault {
    /// A machine loses power, which kills its QEMU with all requests in flight; healing powers it
    /// on again.
    PowerCut(MachineId),
    /// A running guest is paused: it writes nothing and answers nothing.
    GuestFrozen(MachineId),
    /// A guest ignores requests to shut down.
    ShutdownRefused(MachineId),
    /// A disk of a running machine grows to this size; healing leaves it so.
    DiskGrown(MachineId, DiskId, Bytes),
    /// Condition of the link out of the site, over which snapshots are read.
    Link(LinkCondition),
    /// Writes through exports opened from now on fail.
    Writes(WriteFault),
    /// A component is disconnected.
    ComponentDown(&'static str),
    /// The daemon that serves volumes of machines that are off is killed, with every export;
    /// healing starts it again.
    StorageKilled,
}

/// The current faults.
pub(crate) struct Faults {
    pub(crate) present: Mutex<Vec<SiteFault>>,
    pub(crate) writes: Mutex<Option<WriteFault>>,
    pub(crate) condition: watch::Sender<LinkCondition>,
    pub(crate) tally: Arc<Tally>,
    /// Relays in front of the servers of snapshots; present from the first fault of the link on.
    pub(crate) relays: Mutex<Option<BTreeMap<Upstream, Relay>>>,
}

impl Default for Faults {
    fn default() -> Self {
        let (condition, _) = watch::channel(LinkCondition::Healthy);
        Self {
            present: Mutex::default(),
            writes: Mutex::default(),
            condition,
            tally: Arc::default(),
            relays: Mutex::default(),
        }
    }
}

impl Faults {
    /// The fault of writes through exports.
    pub(crate) fn writes(&self) -> Option<WriteFault> {
        *lock(&self.writes)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
