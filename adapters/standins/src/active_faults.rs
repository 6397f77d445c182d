//! The faults that a site has, and their current state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// When faults were healed last.
    healed: Mutex<Option<Instant>>,
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
            healed: Mutex::default(),
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

    /// Notes that the first `count` of the present faults are healed.
    pub(crate) fn end(&self, count: usize) {
        let mut present = lock(&self.present);
        let count = count.min(present.len());
        if present.drain(..count).len() > 0 {
            *lock(&self.healed) = Some(Instant::now());
        }
    }

    /// Whether a fault was present at any time of a wait that has lasted so long.
    pub(crate) fn explain(&self, waited: Duration) -> bool {
        let present = !lock(&self.present).is_empty();
        present || lock(&self.healed).is_some_and(|healed| healed.elapsed() < waited)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_explains_what_was_waited_for_while_it_was_present() {
        let faults = Faults::default();
        let minute = Duration::from_secs(60);
        assert!(!faults.explain(minute), "there was none");
        lock(&faults.present).push(SiteFault::StorageKilled);
        assert!(faults.explain(Duration::ZERO));
        faults.end(1);
        assert!(faults.explain(minute), "the wait began while the fault was present");
        assert!(!faults.explain(Duration::ZERO), "what fails at once afterwards is another matter");
    }

    #[test]
    fn a_fault_that_was_injected_while_others_were_healed_stays() {
        let faults = Faults::default();
        lock(&faults.present).extend([SiteFault::StorageKilled, SiteFault::ComponentDown("process-server")]);
        faults.end(1);
        assert_eq!(*lock(&faults.present), [SiteFault::ComponentDown("process-server")]);
    }
}
