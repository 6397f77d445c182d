//! The boot partition of a machine's first disk: a partition table, and a small FAT file system
//! with the boot loaders' configurations and the drivers they may load. Hydration edits it, and a
//! guest comes up only if its boot loader loads the drivers of its hardware.

use std::io::{Cursor, Read, Write};
use std::ops::Range;

use contract::Firmware;
use fatfs::{Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions};
use windows_volume::ENTRY_BYTES;

use crate::Snapshot;
use crate::disk::{BOOT_PARTITION, SECTOR, boot_partition_at_end};
use crate::guid_partition_table;
use crate::windows_disk::{self, SECOND_ENTRY};

const SYSLINUX: &str = "syslinux.cfg";
const ENTRY: &str = "loader/entries/roundtrip.conf";
/// The files that hydration edits: the configuration of each boot loader.
pub(crate) const EDITED_FILES: [&str; 2] = ["/syslinux.cfg", "/loader/entries/roundtrip.conf"];
/// The boot loader that firmware starts if its variables name none.
const USUAL_LOADER: &str = "/EFI/BOOT/BOOTX64.EFI";
/// What changes when it is added: the file, and the directories above it.
pub(crate) const ADDED_LOADER: [&str; 3] = ["/EFI", "/EFI/BOOT", USUAL_LOADER];
/// Length of the partition in bytes.
const LENGTH: usize = (BOOT_PARTITION.end - BOOT_PARTITION.start) as usize;
/// EFI system partition, whose FAT may be of any width.
const PARTITION_TYPE: u8 = 0xef;
/// Offset of the first partition's entry in the boot record.
const FIRST_ENTRY: usize = 446;
/// Cylinder, head and sector of a place that such numbers cannot express, as partitioning tools
/// write them. Who takes them for a part of the place in sectors finds no partition.
const NO_CYLINDER: [u8; 3] = [0xfe, 0xff, 0xff];

/// The boot record and the partition, which begins at `start`, with their offsets in bytes.
/// `loader` is the path of the boot loader that UEFI firmware starts; one for BIOS is no file.
pub(crate) fn format(
    loaded: &[String],
    carried: &[String],
    loader: Option<&str>,
    start: u64,
) -> std::io::Result<[(u64, Vec<u8>); 2]> {
    let mut bytes = vec![0; LENGTH];
    let options = FormatVolumeOptions::new().bytes_per_cluster(SECTOR as u32).fat_type(FatType::Fat12);
    fatfs::format_volume(Cursor::new(&mut bytes), options.max_root_dir_entries(64))?;
    let fat = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new())?;
    fill(&fat, loaded, carried)?;
    if let Some(path) = loader {
        put_loader(&fat.root_dir(), path)?;
    }
    fat.unmount()?;
    Ok([(0, boot_record(start)), (start, bytes)])
}

fn fill(
    fat: &FileSystem<Cursor<&mut Vec<u8>>>,
    loaded: &[String],
    carried: &[String],
) -> std::io::Result<()> {
    let root = fat.root_dir();
    for dir in ["drivers", "loader", "loader/entries"] {
        root.create_dir(dir)?;
    }
    let put = |path: &str, text: &str| root.create_file(path)?.write_all(text.as_bytes());
    for driver in carried {
        put(&image(driver), &format!("initial RAM disk with {driver}\n"))?;
    }
    let images: Vec<_> = loaded.iter().map(|driver| format!("/{}", image(driver))).collect();
    let list: String = images.iter().map(|image| format!(",{image}")).collect();
    put(
        SYSLINUX,
        &format!("DEFAULT roundtrip\nLABEL roundtrip\n  KERNEL /vmlinuz\n  INITRD /initrd.img{list}\n"),
    )?;
    let lines: String = images.iter().map(|image| format!("initrd {image}\n")).collect();
    put(ENTRY, &format!("title Roundtrip\nlinux /vmlinuz\ninitrd /initrd.img\n{lines}options quiet\n"))
}

fn put_loader(root: &Dir<'_, Cursor<&mut Vec<u8>>>, path: &str) -> std::io::Result<()> {
    let path = path.trim_start_matches('/');
    for (at, _) in path.match_indices('/') {
        root.create_dir(&path[..at])?;
    }
    root.create_file(path)?.write_all(b"a boot loader\n")
}

/// The path of the boot loader on the boot partition of a machine with this firmware, whose
/// variables name `boot_entry`; `None` for BIOS.
pub(crate) fn loader_of(firmware: Firmware, boot_entry: Option<&str>) -> Option<String> {
    (firmware == Firmware::Uefi)
        .then(|| boot_entry.map_or(USUAL_LOADER.to_owned(), |entry| entry.replace('\\', "/")))
}

fn image(driver: &str) -> String {
    format!("drivers/{driver}.img")
}

fn boot_record(start: u64) -> Vec<u8> {
    let mut record = vec![0; SECTOR];
    let sectors = |bytes: u64| ((bytes / SECTOR as u64) as u32).to_le_bytes();
    record[FIRST_ENTRY + 1..FIRST_ENTRY + 4].copy_from_slice(&NO_CYLINDER);
    record[FIRST_ENTRY + 4] = PARTITION_TYPE;
    record[FIRST_ENTRY + 5..FIRST_ENTRY + 8].copy_from_slice(&NO_CYLINDER);
    record[FIRST_ENTRY + 8..FIRST_ENTRY + 12].copy_from_slice(&sectors(start));
    record[FIRST_ENTRY + 12..FIRST_ENTRY + 16].copy_from_slice(&sectors(LENGTH as u64));
    record[SECTOR - 2..].copy_from_slice(&[0x55, 0xaa]);
    record
}

/// Where the boot partition of a disk is, in bytes, by its boot record or its GPT; `None` if
/// neither lists one. Behind the first partition's entry the record may have that of a Windows
/// volume.
pub(crate) fn place(disk: &Snapshot) -> Option<Range<u64>> {
    let mut record = disk.bytes(0, SECTOR);
    if windows_disk::windows_place(disk).is_some() {
        record[SECOND_ENTRY..SECOND_ENTRY + ENTRY_BYTES].fill(0);
    }
    let places = [BOOT_PARTITION, boot_partition_at_end(disk.size())];
    let listed = places.into_iter().find(|place| record[..] == boot_record(place.start)[..]);
    listed.or_else(|| guid_partition_table::boot_partition(disk))
}

/// The drivers that every boot loader loads from a disk; none if it has no boot partition.
pub(crate) fn loaded_drivers(disk: &Snapshot) -> Vec<String> {
    let [bios, uefi] =
        [Firmware::Bios, Firmware::Uefi].map(|firmware| configured(disk, firmware).unwrap_or_default());
    bios.into_iter().filter(|driver| uefi.contains(driver)).collect()
}

/// Starts a machine from a disk: its firmware, whose variables name `boot_entry`, starts a boot
/// loader. Returns the drivers that this loads, or why the machine does not start.
pub(crate) fn start(
    disk: &Snapshot,
    firmware: Firmware,
    boot_entry: Option<&str>,
) -> Result<Vec<String>, String> {
    let drivers = configured(disk, firmware)?;
    let usual = loader_of(firmware, None);
    let loaders = [loader_of(firmware, boot_entry), usual.clone()];
    match usual {
        Some(usual) if !loaders.into_iter().flatten().any(|loader| has_file(disk, &loader)) => Err(format!(
            "no boot loader: the firmware variables name {}, and there is no {usual}",
            boot_entry.unwrap_or("none")
        )),
        _ => Ok(drivers),
    }
}

/// Whether a disk has a boot loader where firmware looks for one that its variables do not name.
pub(crate) fn has_usual_loader(disk: &Snapshot) -> bool {
    has_file(disk, USUAL_LOADER)
}

/// Whether the boot partition of a disk has this file.
fn has_file(disk: &Snapshot, path: &str) -> bool {
    let path = path.trim_start_matches('/');
    with_partition(disk, |root| root.open_file(path).map(drop)).is_ok()
}

fn with_partition<T>(
    disk: &Snapshot,
    work: impl FnOnce(&Dir<'_, Cursor<Vec<u8>>>) -> std::io::Result<T>,
) -> Result<T, String> {
    let place = place(disk).ok_or("no bootable disk: there is no boot record")?;
    let bytes = disk.bytes(place.start, LENGTH);
    let fat = FileSystem::new(Cursor::new(bytes), FsOptions::new());
    fat.and_then(|fat| work(&fat.root_dir()))
        .map_err(|error| format!("the boot partition cannot be read: {error}"))
}

/// The drivers that the boot loader for `firmware` is configured to load from a disk, or why it
/// cannot load them.
fn configured(disk: &Snapshot, firmware: Firmware) -> Result<Vec<String>, String> {
    let path = match firmware {
        Firmware::Bios => SYSLINUX,
        Firmware::Uefi => ENTRY,
    };
    let (loaded, missing) = with_partition(disk, |root| {
        let mut text = String::new();
        root.open_file(path)?.read_to_string(&mut text)?;
        let named = text.split([',', ' ', '\n']);
        let named = named.filter_map(|word| word.strip_prefix("/drivers/")?.strip_suffix(".img"));
        let loaded: Vec<_> = named.map(ToOwned::to_owned).collect();
        let missing = loaded.iter().find(|driver| root.open_file(&image(driver)).is_err()).cloned();
        Ok((loaded, missing))
    })?;
    match missing {
        Some(missing) => Err(format!("the boot loader does not find /{}", image(&missing))),
        None => Ok(loaded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Storage;
    use crate::store::Store;

    fn disk(loaded: &[&str], carried: &[&str]) -> Snapshot {
        disk_with_partition(loaded, carried, BOOT_PARTITION.start)
    }

    fn disk_with_partition(loaded: &[&str], carried: &[&str], start: u64) -> Snapshot {
        let owned = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let mut store = Store::new(Storage::default());
        store.insert(&"disk".into(), 1 << 20, None);
        for (offset, data) in format(&owned(loaded), &owned(carried), Some(USUAL_LOADER), start).unwrap() {
            store.write(&"disk".into(), offset, &data).unwrap();
        }
        store.snapshot(&"disk".into()).unwrap()
    }

    #[test]
    fn both_firmwares_load_the_configured_drivers() {
        let disk = disk(&["ahci", "vmw_pvscsi"], &["ahci", "ata_piix", "vmw_pvscsi"]);
        for firmware in [Firmware::Bios, Firmware::Uefi] {
            assert_eq!(start(&disk, firmware, None).unwrap(), ["ahci", "vmw_pvscsi"]);
        }
        assert!(disk.stored() < 64 * 1024, "{} bytes", disk.stored());
    }

    #[test]
    fn a_boot_loader_of_its_own_starts_only_by_the_entry_that_names_it() {
        let entry = r"\EFI\debian\grubx64.efi";
        let loader = loader_of(Firmware::Uefi, Some(entry)).unwrap();
        let mut store = Store::new(Storage::default());
        store.insert(&"disk".into(), 1 << 20, None);
        for (offset, data) in format(&[], &[], Some(&loader), BOOT_PARTITION.start).unwrap() {
            store.write(&"disk".into(), offset, &data).unwrap();
        }
        let disk = store.snapshot(&"disk".into()).unwrap();
        assert_eq!(start(&disk, Firmware::Uefi, Some(entry)), Ok(Vec::new()));
        assert_eq!(start(&disk, Firmware::Bios, None), Ok(Vec::new()));
        for other in [None, Some(r"\EFI\other.efi")] {
            let error = start(&disk, Firmware::Uefi, other).unwrap_err();
            assert!(error.contains("/EFI/BOOT/BOOTX64.EFI"), "{error}");
        }
    }

    #[test]
    fn a_disk_boots_from_a_partition_at_its_end() {
        let at_end = boot_partition_at_end(1 << 20);
        let disk = disk_with_partition(&["ahci"], &["ahci"], at_end.start);
        assert_eq!(place(&disk), Some(at_end));
        assert_eq!(start(&disk, Firmware::Uefi, None).unwrap(), ["ahci"]);
    }

    #[test]
    fn a_missing_driver_in_the_configuration_stops_the_boot_loader() {
        let error = start(&disk(&["ahci"], &[]), Firmware::Bios, None).unwrap_err();
        assert!(error.contains("/drivers/ahci.img"), "{error}");
    }

    #[test]
    fn an_empty_disk_does_not_start() {
        let mut store = Store::new(Storage::default());
        store.insert(&"disk".into(), 1 << 20, None);
        let empty = store.snapshot(&"disk".into()).unwrap();
        assert!(start(&empty, Firmware::Bios, None).is_err());
    }
}
