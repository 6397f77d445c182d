//! Variants that give other names.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::{JobId, MachineId, VolumeId};

use super::difference::Difference;
use crate::core_under_test::{Extent, FaultHook};

/// Names jobs differently.
pub(super) struct OtherJobIds;

/// What every id of a job begins with.
const URN: &str = "urn:dr:job/";

impl Difference for OtherJobIds {
    fn job_id(&self, id: JobId) -> JobId {
        JobId(format!("{URN}{}", id.0.replace('-', "~")))
    }

    fn inner_job_id(&self, id: &JobId) -> JobId {
        JobId(id.0.trim_start_matches(URN).replace('~', "-"))
    }
}

/// Names volumes differently.
#[derive(Default)]
pub(super) struct OtherVolumeNames {
    /// Names of the wrapped core that no site knows: its own.
    own: Mutex<BTreeSet<VolumeId>>,
}

/// What every volume's name begins with.
const DISK: &str = "dr-disk.";

impl OtherVolumeNames {
    fn own(&self) -> MutexGuard<'_, BTreeSet<VolumeId>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Difference for OtherVolumeNames {
    fn volume_id(&self, id: &VolumeId) -> VolumeId {
        let is_own = self.own().contains(id);
        if is_own { VolumeId(format!("{DISK}{id}")) } else { id.clone() }
    }

    fn inner_volume_id(&self, id: &VolumeId) -> VolumeId {
        VolumeId(id.0.trim_start_matches(DISK).to_owned())
    }

    fn new_volume(&self, id: &VolumeId) {
        self.own().insert(id.clone());
    }
}

/// Names the machines of test failovers differently.
pub(super) struct OtherTestMachines;

impl Difference for OtherTestMachines {
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        Some(Box::new(Drill))
    }
}

struct Drill;

impl FaultHook for Drill {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn test_machine(&self, target: &MachineId) -> MachineId {
        MachineId(format!("drill-of-{target}"))
    }
}
