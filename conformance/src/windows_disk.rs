//! The Windows volume behind the partitions of a guest's system disk, raw.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use camino::Utf8Path;
use windows_volume::{
    ENTRY_BYTES, Registry, SystemHive, VOLUME_BYTES, WindowsVolume, partition, partition_entry,
};

const SECTOR: u64 = 512;
/// Offset of the third partition's entry in the boot record.
const THIRD_ENTRY: u64 = 478;

/// Adds a Windows volume behind the end of a raw system disk, which gets larger.
///
/// # Errors
/// The disk cannot be written, or has a third partition.
pub fn add(disk: &Utf8Path, volume: &WindowsVolume) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk).with_context(|| format!("open {disk}"))?;
    let mut entry = [0; ENTRY_BYTES];
    file.read_exact_at(&mut entry, THIRD_ENTRY)?;
    ensure!(entry == [0; ENTRY_BYTES], "{disk} has a third partition");
    let start = file.metadata()?.len();
    file.write_all_at(&volume.bytes()?, start)?;
    file.write_all_at(&partition_entry(&(start..start + VOLUME_BYTES)), THIRD_ENTRY)?;
    Ok(())
}

/// The hive of a raw disk, and where its volume begins; `None` if the disk has no Windows volume.
///
/// # Errors
/// The disk or its volume cannot be read.
pub fn hive(disk: &Utf8Path) -> Result<Option<(u64, SystemHive)>> {
    let file = File::open(disk).with_context(|| format!("open {disk}"))?;
    let mut first = [0; SECTOR as usize];
    file.read_exact_at(&mut first, 0).with_context(|| format!("read {disk}"))?;
    let Some(place) = partition(&first, file.metadata()?.len()) else { return Ok(None) };
    ensure!(
        place.end - place.start <= VOLUME_BYTES,
        "{disk} has a larger Windows volume than the suite makes"
    );
    let mut volume = vec![0; usize::try_from(place.end - place.start)?];
    file.read_exact_at(&mut volume, place.start).with_context(|| format!("read {disk}"))?;
    Ok(Some((place.start, SystemHive::find(&volume)?)))
}

/// The registry of a raw disk; `None` if the disk has no Windows volume.
///
/// # Errors
/// The disk, its volume or its hive cannot be read.
pub fn registry(disk: &Utf8Path) -> Result<Option<Registry>> {
    let found = hive(disk).with_context(|| format!("the Windows volume of {disk}"))?;
    found.map(|(_, hive)| Ok(Registry::read(&hive.bytes)?)).transpose()
}

/// The sectors of the hive that differ between two raw disks. None if it is not at the same place
/// in both.
#[must_use]
pub fn hive_sectors(before: &Utf8Path, after: &Utf8Path) -> Vec<Range<u64>> {
    let (Ok(Some((start, old))), Ok(Some((other_start, new)))) = (hive(before), hive(after)) else {
        return Vec::new();
    };
    if start != other_start || old.extents != new.extents {
        return Vec::new();
    }
    let sectors = old.bytes.chunks(SECTOR as usize).zip(new.bytes.chunks(SECTOR as usize)).enumerate();
    let differing = sectors.filter(|(_, (old, new))| old != new).map(|(index, _)| index as u64 * SECTOR);
    let mut places: Vec<_> =
        differing.filter_map(|at| Some((start + old.extents.place(at)?) / SECTOR)).collect();
    places.sort_unstable();
    places.into_iter().map(|sector| sector..sector + 1).collect()
}

#[cfg(test)]
mod tests {
    use windows_volume::StartType;

    use super::*;
    use crate::hydration::edited_sectors;

    fn disk(dir: &Utf8Path, name: &str, starts: &[(&str, StartType)]) -> camino::Utf8PathBuf {
        let path = dir.join(name);
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
        File::options().write(true).open(&path).unwrap().write_all_at(&[0x55, 0xaa], 510).unwrap();
        let starts = starts.iter().map(|(name, start)| ((*name).to_owned(), *start)).collect();
        add(&path, &WindowsVolume { starts, ..WindowsVolume::default() }).unwrap();
        path
    }

    #[test]
    fn the_sectors_of_the_hive_that_differ_are_found_and_only_where_they_may() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let before = disk(dir, "before", &[]);
        let after = disk(dir, "after", &[("VMTools", StartType::DISABLED)]);
        let read = |path: &Utf8Path| registry(path).unwrap().unwrap();
        assert_eq!(read(&after).start("VMTools"), Ok(StartType::DISABLED));
        let bytes = [&before, &after].map(|path| std::fs::read(path).unwrap());
        let sectors = bytes[0].chunks(512).zip(bytes[1].chunks(512)).enumerate();
        let differ: Vec<_> = sectors.filter(|(_, (a, b))| a != b).map(|(index, _)| index as u64).collect();
        assert!(!differ.is_empty());
        let found = edited_sectors(&before, &after, &[windows_volume::SYSTEM_HIVE]);
        assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), differ);
        assert_eq!(edited_sectors(&before, &after, &[]), []);
        assert_eq!(hive_sectors(&before, &before), []);
        assert!(add(&before, &WindowsVolume::default()).is_err());
    }
}
