//! Decides of each sector that differs whether edits of given files explain it.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::tree::{self, RECORD, Tree};
use crate::volume::{Geometry, SECTOR, Volume};
use crate::{Damage, Differences, FatError};

/// Flags in the boot sector that a driver sets while it uses the file system.
const IN_USE: u8 = 0x03;
/// The counters of free clusters, in their sector.
const COUNTERS: Range<usize> = 488..496;
/// The entry of the allocation table that holds flags instead of a cluster.
const FLAGS_ENTRY: usize = 1;
/// The date of the last access in a record of a directory, which a driver may note for each file
/// that it reads.
const ACCESSED: Range<usize> = 18..20;

/// Compares two states of a FAT partition. `edited` are the paths of the files that may have been
/// edited between them, such as `/syslinux.cfg`: rewritten in place, or replaced by a new file of
/// the same name in free clusters.
///
/// # Errors
/// A state has no sound FAT file system, or the two have different geometries.
pub fn compare(before: &[u8], after: &[u8], edited: &[&str]) -> Result<Differences, FatError> {
    let geometry = Geometry::read(before)?;
    if before.len() != after.len() || Geometry::read(after)? != geometry {
        return Err(FatError::Damaged("the geometry has changed".to_owned()));
    }
    let before = Volume { bytes: before, geometry: &geometry };
    let after = Volume { bytes: after, geometry: &geometry };
    let comparison = Comparison::new(before, after, edited)?;
    let mut differences = Differences::default();
    let sectors = before.bytes.chunks(SECTOR).zip(after.bytes.chunks(SECTOR)).zip(0_u64..);
    for ((_, _), sector) in sectors.filter(|((before, after), _)| before != after) {
        match comparison.damage(sector) {
            Some(place) => differences.damage.push(Damage { sector, place }),
            None => match differences.explained.last_mut().filter(|last| last.end == sector) {
                Some(last) => last.end += 1,
                None => differences.explained.push(sector..sector + 1),
            },
        }
    }
    Ok(differences)
}

/// Two states, and what may differ between them.
struct Comparison<'a> {
    before: Volume<'a>,
    after: Volume<'a>,
    owners: Tree,
    /// Clusters that edited files used or use.
    clusters: BTreeSet<u32>,
    /// Offsets of records of directories that edited files used or use.
    records: BTreeSet<usize>,
}

impl<'a> Comparison<'a> {
    fn new(before: Volume<'a>, after: Volume<'a>, edited: &[&str]) -> Result<Self, FatError> {
        let owners = Tree::read(before)?;
        let found = Tree::read(after)?;
        let mut clusters = BTreeSet::new();
        let mut records = BTreeSet::new();
        for path in edited {
            if let Some(entry) = owners.find(path) {
                clusters.extend(&entry.clusters);
                records.extend(&entry.records);
            }
            // Whatever the file took from another one is damage.
            if let Some(entry) = found.find(path) {
                clusters.extend(entry.clusters.iter().filter(|cluster| before.is_free(**cluster)));
                let free = |at: &&usize| tree::is_free(&before.bytes[**at..**at + RECORD]);
                records.extend(entry.records.iter().filter(free));
            }
        }
        Ok(Self { before, after, owners, clusters, records })
    }

    /// What a sector that differs belongs to; `None` if the edits explain every byte that differs
    /// in it.
    fn damage(&self, sector: u64) -> Option<String> {
        let at = usize::try_from(sector).unwrap_or(usize::MAX) * SECTOR;
        let geometry = self.before.geometry;
        let (explained, place) = if at == 0 {
            (self.only_flags(), "the boot sector".to_owned())
        } else if geometry.counters.contains(&(at / SECTOR)) {
            (self.differs_only_in(at, COUNTERS), "the counters of free clusters".to_owned())
        } else if let Some(copy) = geometry.tables.iter().position(|table| table.contains(&at)) {
            (self.only_entries_of_edited(copy, at), format!("copy {} of the allocation table", copy + 1))
        } else if geometry.fixed_root.contains(&at) {
            (self.only_records_of_edited(at), "the root directory".to_owned())
        } else {
            self.in_cluster(at)
        };
        (!explained).then_some(place)
    }

    fn in_cluster(&self, at: usize) -> (bool, String) {
        let Some(cluster) = self.before.geometry.cluster_at(at) else {
            return (false, "outside all clusters".to_owned());
        };
        let owner = self.owners.owner(cluster);
        let place = owner.map_or_else(
            || format!("cluster {cluster}, which no file used"),
            |path| format!("cluster {cluster} of {path}"),
        );
        if self.owners.is_directory_cluster(cluster) {
            return (self.only_records_of_edited(at), place);
        }
        (self.clusters.contains(&cluster), place)
    }

    /// Bytes of the sector at an offset that differ, as offsets from the partition's beginning.
    fn differing(&self, at: usize) -> impl Iterator<Item = usize> {
        (at..at + SECTOR).filter(|at| self.before.bytes[*at] != self.after.bytes[*at])
    }

    fn differs_only_in(&self, at: usize, allowed: Range<usize>) -> bool {
        self.differing(at).all(|byte| allowed.contains(&(byte - at)))
    }

    fn only_flags(&self) -> bool {
        let flags = self.before.geometry.flags_at;
        let changed = self.before.bytes[flags] ^ self.after.bytes[flags];
        self.differs_only_in(0, flags..flags + 1) && changed & !IN_USE == 0
    }

    fn only_entries_of_edited(&self, copy: usize, at: usize) -> bool {
        let geometry = self.before.geometry;
        let start = geometry.tables[copy].start;
        let allowed = |entry: usize| {
            entry == FLAGS_ENTRY || u32::try_from(entry).is_ok_and(|cluster| self.clusters.contains(&cluster))
        };
        self.differing(at).all(|byte| {
            let entries = geometry.entries_at(byte - start);
            let mut changed = entries
                .filter(|entry| self.before.entry(copy, *entry) != self.after.entry(copy, *entry))
                .peekable();
            changed.peek().is_some() && changed.all(allowed)
        })
    }

    fn only_records_of_edited(&self, at: usize) -> bool {
        (at..at + SECTOR).step_by(RECORD).all(|record| {
            let before = &self.before.bytes[record..record + RECORD];
            let after = &self.after.bytes[record..record + RECORD];
            let free = |bytes: &[u8]| tree::is_free(bytes);
            before == after
                || self.records.contains(&record)
                || (free(before) && free(after))
                || (!tree::is_long_name(before) && without_access(before) == without_access(after))
        })
    }
}

/// A record of a directory without the date of the last access.
fn without_access(record: &[u8]) -> [&[u8]; 2] {
    [&record[..ACCESSED.start], &record[ACCESSED.end..]]
}
