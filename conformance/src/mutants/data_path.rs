//! Faults below the core's interface: they alter what the core writes into a recovery point or how
//! it makes the target machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use contract::MachineSpec;

use super::activation::Activation;
use crate::core_under_test::{BootEntries, Extent, FaultHook, Flushes, Merging, RegistryEdits, Verifying};

/// Size of a sector in bytes.
const SECTOR: usize = 512;
/// Granularity of the built-in core's transfers, in bytes.
const GRAIN: u64 = 64 * 1024;

/// A fault below the interface that leaves the core alone until it is activated.
pub(super) struct ActivatedFault {
    pub(super) activation: Arc<Activation>,
    pub(super) fault: Box<dyn FaultHook>,
}

impl FaultHook for ActivatedFault {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        if !self.activation.is_active() {
            return true;
        }
        let before = extent.clone();
        let passes = self.fault.pass(batch, extent);
        self.note(!passes || *extent != before);
        passes
    }

    fn hydrates(&self) -> bool {
        let hydrates = !self.activation.is_active() || self.fault.hydrates();
        self.note(!hydrates);
        hydrates
    }

    fn registry_edits(&self) -> RegistryEdits {
        let active = self.activation.is_active();
        let edits = if active { self.fault.registry_edits() } else { RegistryEdits::Needed };
        self.note(edits != RegistryEdits::Needed);
        edits
    }

    fn boot_entries(&self) -> BootEntries {
        let active = self.activation.is_active();
        let entries = if active { self.fault.boot_entries() } else { BootEntries::Both };
        self.note(entries != BootEntries::Both);
        entries
    }

    fn merging(&self) -> Merging {
        let active = self.activation.is_active();
        let merging = if active { self.fault.merging() } else { Merging::default() };
        self.note(merging != Merging::default());
        merging
    }

    fn notices_growth(&self) -> bool {
        let notices = !self.activation.is_active() || self.fault.notices_growth();
        self.note(!notices);
        notices
    }

    fn grain(&self) -> u64 {
        let grain = if self.activation.is_active() { self.fault.grain() } else { GRAIN };
        self.note(grain != GRAIN);
        grain
    }

    fn flushes(&self) -> Flushes {
        let flushes = if self.activation.is_active() { self.fault.flushes() } else { Flushes::All };
        self.note(flushes != Flushes::All);
        flushes
    }

    fn compares(&self) -> bool {
        let compares = !self.activation.is_active() || self.fault.compares();
        self.note(!compares);
        compares
    }

    fn clears_target(&self) -> bool {
        let clears = !self.activation.is_active() || self.fault.clears_target();
        self.note(!clears);
        clears
    }

    fn verifying(&self) -> Verifying {
        let verifying =
            if self.activation.is_active() { self.fault.verifying() } else { Verifying::Everything };
        self.note(verifying != Verifying::Everything);
        verifying
    }

    fn shape(&self, spec: &mut MachineSpec) {
        if self.activation.is_active() {
            let before = spec.clone();
            self.fault.shape(spec);
            self.note(*spec != before);
        }
    }
}

impl ActivatedFault {
    /// Records whether the fault has altered something.
    fn note(&self, altered: bool) {
        if altered {
            self.activation.note_act();
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

/// Transfers whole disks once a source has not known what had changed.
#[derive(Default)]
pub(super) struct FullForEver(AtomicBool);

/// More than the size of any disk of a check that counts bytes.
const WHOLE_DISK: u64 = 1 << 24;

impl FaultHook for FullForEver {
    fn pass(&self, _: u64, _: &mut Extent) -> bool {
        true
    }

    fn compares(&self) -> bool {
        self.0.store(true, Ordering::SeqCst);
        true
    }

    fn grain(&self) -> u64 {
        if self.0.load(Ordering::SeqCst) { WHOLE_DISK } else { GRAIN }
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

/// Alters or drops extents by a plain function of the transfer's number and the extent; the
/// function returns whether the extent is written.
pub(super) struct ByExtent(pub(super) fn(u64, &mut Extent) -> bool);

impl FaultHook for ByExtent {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        (self.0)(batch, extent)
    }
}

/// Alters one extent of every transfer by a plain function; it returns whether the extent is
/// written.
pub(super) struct OncePerTransfer {
    once: OncePerBatch,
    alter: fn(&mut Extent) -> bool,
}

impl OncePerTransfer {
    pub(super) fn new(alter: fn(&mut Extent) -> bool) -> Self {
        Self { once: OncePerBatch::default(), alter }
    }
}

impl FaultHook for OncePerTransfer {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        !self.once.first(batch) || (self.alter)(extent)
    }
}

/// Cuts off the last sector.
pub(super) fn shorten(_: u64, extent: &mut Extent) -> bool {
    extent.data.truncate(extent.data.len().saturating_sub(SECTOR));
    true
}

/// Writes to the second disk where a number of large sectors leads if they are taken for small
/// ones.
pub(super) fn in_small_sectors(_: u64, extent: &mut Extent) -> bool {
    const LARGE: u64 = 4096;
    if extent.disk == 1 {
        extent.offset = extent.offset / LARGE * SECTOR as u64;
    }
    true
}

/// Cuts off the second half.
pub(super) fn halve(extent: &mut Extent) -> bool {
    extent.data.truncate(extent.data.len() / 2);
    true
}

/// Moves the extent a sector towards the beginning of the disk.
pub(super) fn misplace(_: u64, extent: &mut Extent) -> bool {
    extent.offset = extent.offset.saturating_sub(SECTOR as u64);
    true
}

/// Copies the first sector over the second.
pub(super) fn duplicate(_: u64, extent: &mut Extent) -> bool {
    if extent.data.len() >= 2 * SECTOR {
        extent.data.copy_within(..SECTOR, SECTOR);
    }
    true
}

/// Cuts off what follows the last whole 64 KiB of the disk: only there do extents of the core end
/// elsewhere.
pub(super) fn round_down(_: u64, extent: &mut Extent) -> bool {
    let end = (extent.offset + extent.data.len() as u64) / GRAIN * GRAIN;
    extent.data.truncate(end.saturating_sub(extent.offset) as usize);
    !extent.data.is_empty()
}

/// Writes zeroes from the beginning of a block of 128 KiB up to the extent.
pub(super) fn zero_rest_of_block(batch: u64, extent: &mut Extent) -> bool {
    let before = extent.offset % (2 * GRAIN);
    if batch > 1 && before > 0 {
        extent.offset -= before;
        extent.data.splice(..0, std::iter::repeat_n(0, before as usize));
    }
    true
}

/// Takes offsets modulo 2 TiB.
pub(super) fn wrap_offsets(_: u64, extent: &mut Extent) -> bool {
    extent.offset %= 1 << 41;
    true
}

/// Exchanges the second and the third disk.
pub(super) fn swap_data_disks(batch: u64, extent: &mut Extent) -> bool {
    if batch > 1 && (1..3).contains(&extent.disk) {
        extent.disk = 3 - extent.disk;
    }
    true
}

/// Exchanges the first two disks.
pub(super) fn swap_disks(_: u64, extent: &mut Extent) -> bool {
    if extent.disk < 2 {
        extent.disk = 1 - extent.disk;
    }
    true
}

/// Replaces the data with zeroes.
pub(super) fn zero(extent: &mut Extent) -> bool {
    extent.data.fill(0);
    true
}

/// Inverts the lowest bit of the first byte.
pub(super) fn flip_bit(extent: &mut Extent) -> bool {
    if let Some(first) = extent.data.first_mut() {
        *first ^= 1;
    }
    true
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

/// Changes other start types than it has to in the registry of a Windows machine.
pub(super) struct EditsRegistry(pub(super) RegistryEdits);

impl FaultHook for EditsRegistry {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn registry_edits(&self) -> RegistryEdits {
        self.0
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

/// Makes recovery points without the new end of a disk that has grown.
pub(super) struct IgnoreGrowth;

impl FaultHook for IgnoreGrowth {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn notices_growth(&self) -> bool {
        false
    }
}

/// Flushes only some connections to a replica.
pub(super) struct Unflushed(pub(super) Flushes);

impl FaultHook for Unflushed {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn flushes(&self) -> Flushes {
        self.0
    }
}

/// Verifies less than it should.
pub(super) struct HalfVerified(pub(super) Verifying);

impl FaultHook for HalfVerified {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn verifying(&self) -> Verifying {
        self.0
    }
}

/// Writes no zeroes in a full copy.
pub(super) struct AssumesEmptyTarget;

impl FaultHook for AssumesEmptyTarget {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn clears_target(&self) -> bool {
        false
    }
}

/// Leaves out what a transfer has beyond its first 4 MiB.
#[derive(Default)]
pub(super) struct ShortTransfers(Mutex<BTreeMap<u64, u64>>);

/// The most bytes of a short transfer.
const MOST: u64 = 4 << 20;

impl FaultHook for ShortTransfers {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = passed.entry(batch).or_default();
        *passed += extent.data.len() as u64;
        *passed <= MOST
    }
}

/// Leaves out all but the first changed extent of each disk.
#[derive(Default)]
pub(super) struct FirstExtentOnly(Mutex<BTreeSet<(u64, usize)>>);

impl FaultHook for FirstExtentOnly {
    fn pass(&self, batch: u64, extent: &mut Extent) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((batch, extent.disk))
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
