//! Faults below the core's interface: they alter what the core writes into a recovery point or how
//! it makes the target machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use contract::MachineSpec;

use super::activation::Activation;
use crate::core_under_test::{Extent, FaultHook};

/// A fault below the interface that leaves the core alone until it is activated.
pub(super) struct ActivatedFault {
    pub(super) activation: Arc<Activation>,
    pub(super) fault: Box<dyn FaultHook>,
}

impl FaultHook for ActivatedFault {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        !self.activation.is_active() || self.fault.pass(batch, extent)
    }

    fn hydrates(&self) -> bool {
        !self.activation.is_active() || self.fault.hydrates()
    }

    fn compares(&self) -> bool {
        !self.activation.is_active() || self.fault.compares()
    }

    fn shape(&self, spec: &mut MachineSpec) {
        if self.activation.is_active() {
            self.fault.shape(spec);
        }
    }
}

/// Makes a fault act once for each batch: remembers the last batch in which it did.
#[derive(Default)]
struct OncePerBatch(Mutex<u64>);

impl OncePerBatch {
    fn first(&self, batch: u64) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *last, batch) != batch
    }
}

/// Leaves one changed extent out of every recovery point.
#[derive(Default)]
pub(super) struct DropExtent(OncePerBatch);

impl FaultHook for DropExtent {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        // To leave zeroes out where there are zeroes already would change nothing.
        extent.data.iter().all(|byte| *byte == 0) || !self.0.first(batch)
    }
}

/// Makes target machines without the address that was chosen for them.
pub(super) struct ForgetAddress;

impl FaultHook for ForgetAddress {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn shape(&self, spec: &mut MachineSpec) {
        spec.placement.address = None;
    }
}

/// Boots target copies without the drivers that they lack.
pub(super) struct SkipHydration;

impl FaultHook for SkipHydration {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn hydrates(&self) -> bool {
        false
    }
}

/// Takes a disk for unchanged whose changes the source can no longer list.
pub(super) struct SkipResync;

impl FaultHook for SkipResync {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn compares(&self) -> bool {
        false
    }
}

/// Inverts one sector of every recovery point.
#[derive(Default)]
pub(super) struct AlterSector(OncePerBatch);

impl FaultHook for AlterSector {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        if let Some(sector) = extent.data.first_chunk_mut::<512>()
            && self.0.first(batch)
        {
            sector.iter_mut().for_each(|byte| *byte = !*byte);
        }
        true
    }
}

/// Writes what an extent held one batch earlier, so that every recovery point mixes two moments.
#[derive(Default)]
pub(super) struct SwapInTime {
    once: OncePerBatch,
    before: Mutex<BTreeMap<(usize, u64), Vec<u8>>>,
}

impl FaultHook for SwapInTime {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (extent.disk, extent.offset);
        if let Some(old) = before.insert(place, extent.data.clone())
            && old.len() == extent.data.len()
            && old != extent.data
            && self.once.first(batch)
        {
            extent.data = old;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core_under_test::FaultInjection as _;
    use crate::mutants::InjectedFault;

    fn extent(byte: u8) -> Extent {
        Extent { disk: 0, offset: 0, data: vec![byte; 1024] }
    }

    fn by_name(name: &str) -> (InjectedFault, Arc<dyn FaultHook>) {
        let fault = InjectedFault::parse(name).expect("there is a mutant of this name");
        let hook = fault.hook().expect("it is a fault below the interface");
        (fault, hook)
    }

    #[test]
    fn a_fault_can_wait_for_its_edge() {
        let (fault, hook) = by_name("drop-extent@failback");
        assert!(hook.pass(1, &mut extent(7)));
        fault.begin_edge("reprotect");
        assert!(hook.pass(2, &mut extent(7)));
        fault.begin_edge("failback");
        assert!(!hook.pass(3, &mut extent(7)));
    }

    #[test]
    fn one_extent_a_batch_is_dropped() {
        let (_, hook) = by_name("drop-extent");
        let passed: Vec<_> = [1, 1, 2, 2].iter().map(|batch| hook.pass(*batch, &mut extent(7))).collect();
        assert_eq!(passed, [false, true, false, true]);
    }

    #[test]
    fn one_sector_a_batch_is_altered() {
        let (_, hook) = by_name("alter-sector");
        let mut first = extent(0);
        let mut second = extent(0);
        assert!(hook.pass(1, &mut first) && hook.pass(1, &mut second));
        assert!(first.data[..512] == [0xff; 512] && first.data[512..] == [0; 512]);
        assert_eq!(second, extent(0));
    }

    #[test]
    fn a_point_gets_the_content_of_the_one_before() {
        let (_, hook) = by_name("swap-in-time");
        let mut old = extent(1);
        let mut new = extent(2);
        assert!(hook.pass(1, &mut old) && hook.pass(2, &mut new));
        assert_eq!((old, new), (extent(1), extent(1)));
    }
}
