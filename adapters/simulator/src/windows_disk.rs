//! The Windows volume on a machine's first disk, if it has one.

use std::ops::Range;

use contract::GuestFacts;
use windows_volume::{
    Difference, ENTRY_BYTES, Registry, SystemHive, VolumeError, partition, partition_entry,
};

use crate::Snapshot;
use crate::disk::SECTOR;

/// Offset of the second partition's entry in the boot record.
pub(crate) const SECOND_ENTRY: usize = 462;

/// Adds the volume's partition to a boot record.
pub(crate) fn add_partition(record: &mut [u8], place: &Range<u64>) {
    if let Some(entry) = record.get_mut(SECOND_ENTRY..SECOND_ENTRY + ENTRY_BYTES) {
        entry.copy_from_slice(&partition_entry(place));
    }
}

/// Where the Windows volume of a disk is, in bytes; `None` if the disk has none.
#[must_use]
pub fn windows_place(disk: &Snapshot) -> Option<Range<u64>> {
    partition(&disk.bytes(0, SECTOR), disk.size())
}

/// The hive of a disk's Windows volume; `None` if the disk has no such volume.
///
/// # Errors
/// The volume cannot be read.
pub fn system_hive(disk: &Snapshot) -> Option<Result<SystemHive, VolumeError>> {
    let place = windows_place(disk)?;
    Some(SystemHive::find(&disk.bytes(place.start, (place.end - place.start) as usize)))
}

/// The bytes of a disk in which its hive may differ from that of `before`: all of it if only such
/// start types differ as a core may have to change, and else none.
pub(crate) fn edited(before: &Snapshot, after: &Snapshot) -> Vec<Range<u64>> {
    let (Some(place), Some(Ok(old)), Some(Ok(new))) =
        (windows_place(before), system_hive(before), system_hive(after))
    else {
        return Vec::new();
    };
    if old.bytes == new.bytes || old.extents != new.extents {
        return Vec::new();
    }
    let (Ok(was), Ok(is)) = (Registry::read(&old.bytes), Registry::read(&new.bytes)) else {
        return Vec::new();
    };
    let sound = is.differences(&was).iter().all(may_differ);
    let on_disk = |extent: Range<u64>| place.start + extent.start..place.start + extent.end;
    old.extents.0.into_iter().filter(|_| sound).map(on_disk).collect()
}

fn may_differ(difference: &Difference) -> bool {
    let Difference::Start { service, .. } = difference else { return false };
    let drivers = GuestFacts::CLOUD_DRIVERS.iter();
    let mut known = drivers.chain([&GuestFacts::DHCP_SERVICE, &GuestFacts::VMWARE_TOOLS]);
    known.any(|known| service.eq_ignore_ascii_case(known))
}
