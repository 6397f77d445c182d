//! Comparisons of disks.

use simulator::{SimBoot, SimSite, Snapshot};

/// Granularity of the comparisons, in bytes.
const SECTOR: usize = 512;

/// Whether a machine was started from these disks. Its boot partition may differ, because hydration
/// edits it.
pub(crate) fn booted_from(boot: &SimBoot, disks: &[Snapshot]) -> bool {
    let hydrated = SimSite::hydrated();
    let matches = |(disk, (base, expected)): (usize, (&Snapshot, &Snapshot))| {
        let allowed = |offset: &u64| disk == hydrated.disk && hydrated.bytes.contains(offset);
        base.size() == expected.size() && base.differences(expected, SECTOR).iter().all(allowed)
    };
    let bases = boot.bases();
    bases.len() == disks.len() && bases.iter().zip(disks).enumerate().all(matches)
}

/// Whether two machines' disks have the same content.
pub(crate) fn same_content(one: &[Snapshot], other: &[Snapshot]) -> bool {
    let same = |(one, other): (&Snapshot, &Snapshot)| {
        one.size() == other.size() && one.differences(other, SECTOR).is_empty()
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// Bytes of a disk that are not zero, in pieces of `piece` bytes.
pub(crate) fn nonzero_bytes(disk: &Snapshot, piece: u64) -> u64 {
    let is_set = |index: &u64| disk.bytes(index * piece, piece as usize).iter().any(|byte| *byte != 0);
    (0..disk.size() / piece).filter(is_set).count() as u64 * piece
}
