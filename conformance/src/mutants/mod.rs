//! Mutants: the built-in core made faulty on purpose. A suite that never fails a wrong core proves nothing.

pub mod interface;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use contract::{MachineSpec, ReplicationCore};
use replication::fault_hook::{Extent, FaultHook};

use crate::mutants::interface::{Faulty, InterfaceFault};

/// A fault, its name and what it does.
pub struct Mutant {
    /// Name on the command line.
    pub name: &'static str,
    /// For people.
    pub does: &'static str,
    make: fn() -> Arc<dyn FaultHook>,
}

/// Every fault there is.
pub const ALL: &[Mutant] = &[
    Mutant {
        name: "drop-extent",
        does: "leaves one changed extent out of every recovery point",
        make: || Arc::new(DropExtent::default()),
    },
    Mutant {
        name: "swap-in-time",
        does: "gives every recovery point an extent's content of the point before",
        make: || Arc::new(SwapInTime::default()),
    },
    Mutant {
        name: "skip-hydration",
        does: "boots target copies without the drivers they lack",
        make: || Arc::new(SkipHydration),
    },
    Mutant {
        name: "skip-resync",
        does: "takes disks for unchanged whose source cannot tell what changed",
        make: || Arc::new(SkipResync),
    },
    Mutant {
        name: "alter-sector",
        does: "alters one sector of every recovery point",
        make: || Arc::new(AlterSector::default()),
    },
    Mutant {
        name: "forget-address",
        does: "makes target machines without the address that was chosen for them",
        make: || Arc::new(ForgetAddress),
    },
];

/// A fault that was asked for as `NAME`, at work from the first change on, or as `NAME@EDGE`, at work from the
/// beginning of that edge on.
pub struct Planned {
    edge: Option<String>,
    armed: AtomicBool,
    tap: Arc<dyn FaultHook>,
}

impl Planned {
    /// Understands `NAME` or `NAME@EDGE`; `None` if there is no fault of that name.
    #[must_use]
    pub fn parse(words: &str) -> Option<Arc<Self>> {
        let (name, edge) = match words.split_once('@') {
            Some((name, edge)) => (name, Some(edge.to_owned())),
            None => (words, None),
        };
        let mutant = ALL.iter().find(|mutant| mutant.name == name)?;
        let armed = AtomicBool::new(edge.is_none());
        Some(Arc::new(Self { edge, armed, tap: (mutant.make)() }))
    }

    /// The edge at which it begins, if not at once.
    #[must_use]
    pub fn edge(&self) -> Option<&str> {
        self.edge.as_deref()
    }

    /// An edge begins.
    pub fn enter(&self, edge: &str) {
        if self.edge.as_deref() == Some(edge) {
            self.armed.store(true, Ordering::SeqCst);
        }
    }
}

impl FaultHook for Planned {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        !self.armed.load(Ordering::SeqCst) || self.tap.pass(batch, extent)
    }

    fn hydrates(&self) -> bool {
        !self.armed.load(Ordering::SeqCst) || self.tap.hydrates()
    }

    fn compares(&self) -> bool {
        !self.armed.load(Ordering::SeqCst) || self.tap.compares()
    }

    fn shape(&self, spec: &mut MachineSpec) {
        if self.armed.load(Ordering::SeqCst) {
            self.tap.shape(spec);
        }
    }
}

/// What makes a core of a check faulty: nothing, a fault below its interface, or one at it.
#[derive(Clone, Default)]
pub struct InjectedFault {
    tap: Option<Arc<Planned>>,
    bend: Option<InterfaceFault>,
}

impl InjectedFault {
    /// Understands the words of `--mutant`; `None` if there is no fault of that name. What begins at an edge, of which
    /// checks have none, begins at once.
    #[must_use]
    pub fn parse(words: &str) -> Option<Self> {
        let name = words.split_once('@').map_or(words, |(name, _)| name);
        Planned::parse(name).map(|tap| Self { tap: Some(tap), bend: None })
    }

    /// A fault at the interface.
    #[must_use]
    pub fn bent(bend: InterfaceFault) -> Self {
        Self { tap: None, bend: Some(bend) }
    }

    /// What the core is opened with.
    #[must_use]
    pub fn tap(&self) -> Option<Arc<dyn FaultHook>> {
        self.tap.clone().map(|tap| tap as Arc<dyn FaultHook>)
    }

    /// What stands between core and check.
    #[must_use]
    pub fn around(&self, core: Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore> {
        match self.bend {
            Some(bend) => Arc::new(Faulty::new(core, bend)),
            None => core,
        }
    }
}

/// The last batch in which something was done, so that it is done once a batch.
#[derive(Default)]
struct OncePerBatch(Mutex<u64>);

impl OncePerBatch {
    fn first(&self, batch: u64) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *last, batch) != batch
    }
}

#[derive(Default)]
struct DropExtent(OncePerBatch);

impl FaultHook for DropExtent {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        // Zeroes over zeroes would not be missed.
        extent.data.iter().all(|byte| *byte == 0) || !self.0.first(batch)
    }
}

struct ForgetAddress;

impl FaultHook for ForgetAddress {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn shape(&self, spec: &mut MachineSpec) {
        spec.placement.address = None;
    }
}

struct SkipHydration;

impl FaultHook for SkipHydration {
    fn pass(&self, _: u64, _: &mut Extent) -> bool {
        true
    }

    fn hydrates(&self) -> bool {
        false
    }
}

struct SkipResync;

impl FaultHook for SkipResync {
    fn pass(&self, _: u64, _: &mut Extent) -> bool {
        true
    }

    fn compares(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct AlterSector(OncePerBatch);

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

/// Remembers what each extent held a batch ago and writes that instead: each point mixes two moments.
#[derive(Default)]
struct SwapInTime {
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn extent(byte: u8) -> Extent {
        Extent { disk: 0, offset: 0, data: vec![byte; 1024] }
    }

    fn by_name(name: &str) -> Option<Arc<Planned>> {
        Planned::parse(name)
    }

    #[test]
    fn a_fault_can_wait_for_its_edge() {
        let tap = by_name("drop-extent@failback").unwrap();
        assert!(tap.pass(1, &mut extent(7)));
        tap.enter("reprotect");
        assert!(tap.pass(2, &mut extent(7)));
        tap.enter("failback");
        assert!(!tap.pass(3, &mut extent(7)));
        assert!(by_name("no-such-fault@failback").is_none());
    }

    #[test]
    fn one_extent_a_batch_is_dropped() {
        let tap = by_name("drop-extent").unwrap();
        let passed: Vec<_> = [1, 1, 2, 2].iter().map(|batch| tap.pass(*batch, &mut extent(7))).collect();
        assert_eq!(passed, [false, true, false, true]);
    }

    #[test]
    fn one_sector_a_batch_is_altered() {
        let tap = by_name("alter-sector").unwrap();
        let (mut first, mut second) = (extent(0), extent(0));
        assert!(tap.pass(1, &mut first) && tap.pass(1, &mut second));
        assert!(first.data[..512] == [0xff; 512] && first.data[512..] == [0; 512]);
        assert_eq!(second, extent(0));
    }

    #[test]
    fn a_point_gets_the_content_of_the_one_before() {
        let tap = by_name("swap-in-time").unwrap();
        let (mut old, mut new) = (extent(1), extent(2));
        assert!(tap.pass(1, &mut old) && tap.pass(2, &mut new));
        assert_eq!((old, new), (extent(1), extent(1)));
    }
}
