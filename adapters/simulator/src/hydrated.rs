//! What hydration may have edited on a recovered machine's first disk.

use std::ops::Range;

use contract::Firmware;

use crate::boot_partition::{EDITED_FILES, USUAL_LOADER, has_file, loaded_drivers};
use crate::disk::SECTOR;
use crate::{Allowed, SimBoot, SimDisk, Snapshot, boot_partition, windows_disk};

impl SimBoot {
    /// The bytes in which this machine's disks may differ from `before`, the disks that they were
    /// recovered from: the sectors that edits of the boot loaders' configurations explain, if a
    /// driver was missing that the machine needs here, those of a boot loader at the path that
    /// firmware tries by default, if there was none, and the registry of a Windows volume, if
    /// only start types differ in it that a core may have to change.
    #[must_use]
    pub fn hydrated_since(&self, before: &[Snapshot]) -> Vec<Allowed> {
        let (Some(before), Some(after)) = (before.first(), self.disks.first()) else { return Vec::new() };
        let registry = windows_disk::edited(before, &after.base);
        let registry = registry.into_iter().map(|bytes| Allowed { disk: 0, bytes });
        self.loaders_edited_since(before, after).into_iter().chain(registry).collect()
    }

    fn loaders_edited_since(&self, before: &Snapshot, after: &SimDisk) -> Vec<Allowed> {
        let loaded = loaded_drivers(before);
        let mut edited = Vec::new();
        if !self.drivers.iter().all(|driver| loaded.contains(driver)) {
            edited.extend(EDITED_FILES);
        }
        let [_, loader] = USUAL_LOADER;
        if self.firmware == Firmware::Uefi && !has_file(before, loader) {
            edited.extend(USUAL_LOADER);
        }
        if edited.is_empty() {
            return Vec::new();
        }
        let Some(place) = boot_partition::place(before) else { return Vec::new() };
        let partition = |disk: &Snapshot| disk.bytes(place.start, (place.end - place.start) as usize);
        let found = fatdiff::compare(&partition(before), &partition(&after.base), &edited);
        // A partition that cannot be compared is one in which nothing is allowed.
        let explained = found.map(|found| found.explained).unwrap_or_default();
        let offset = |sector: u64| place.start + sector * SECTOR as u64;
        let on_disk = |sectors: Range<u64>| offset(sectors.start)..offset(sectors.end);
        explained.into_iter().map(|sectors| Allowed { disk: 0, bytes: on_disk(sectors) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use contract::{DiskId, MachineId, Timestamp};
    use fatfs::{FileSystem, FsOptions};

    use super::*;
    use crate::Storage;
    use crate::boot_partition::format;
    use crate::disk::{BOOT_PARTITION, SMALLEST};
    use crate::{Cut, cut_of, store::Store};

    fn disk(parts: &[(u64, Vec<u8>)]) -> Snapshot {
        let mut store = Store::new(Storage::default());
        store.insert(&"disk".into(), SMALLEST, None);
        parts.iter().for_each(|(offset, data)| store.write(&"disk".into(), *offset, data).unwrap());
        store.snapshot(&"disk".into()).unwrap()
    }

    /// A machine that needs `driver`, recovered from a disk that loads `vmw_pvscsi`. Both boot
    /// loaders' configurations are edited, and then `tamper` is called with the partition.
    fn recovered(driver: &str, tamper: fn(&mut Vec<u8>)) -> Cut {
        let drivers = ["vmw_pvscsi", "ata_piix"].map(ToOwned::to_owned);
        let mut parts = format(&drivers[..1], &drivers, None, BOOT_PARTITION.start).unwrap();
        let before = [disk(&parts)];
        let fat = FileSystem::new(Cursor::new(&mut parts[1].1), FsOptions::new()).unwrap();
        for path in EDITED_FILES {
            fat.root_dir().open_file(&path[1..]).unwrap().write_all(&[b'#'; 1200]).unwrap();
        }
        fat.unmount().unwrap();
        tamper(&mut parts[1].1);
        let disks = vec![SimDisk { id: DiskId::from("system"), base: disk(&parts) }];
        let mut boot = SimBoot::new(MachineId::from("web"), 1, 1, Timestamp(0), disks);
        boot.drivers = vec![driver.to_owned()];
        cut_of(&before, &[], &boot.bases(), &boot.hydrated_since(&before))
    }

    /// Alters the sector that begins with these bytes.
    fn alter(partition: &mut [u8], beginning: &[u8]) {
        let at = partition.chunks(SECTOR).position(|sector| sector.starts_with(beginning)).unwrap();
        partition[at * SECTOR + 7] ^= 1;
    }

    #[test]
    fn only_what_hydration_edited_is_exempt_and_only_where_a_driver_was_missing() {
        assert!(matches!(recovered("ata_piix", |_| ()), Cut::Exact(_)));
        assert!(matches!(recovered("ata_piix", |bytes| alter(bytes, b"####")), Cut::Exact(_)));
        let tampered = [
            recovered("vmw_pvscsi", |_| ()),
            recovered("ata_piix", |bytes| alter(bytes, b"initial RAM disk with vmw_pvscsi")),
            recovered("ata_piix", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ];
        for cut in tampered {
            assert!(matches!(cut, Cut::Broken(_)), "{cut:?}");
        }
    }
}
