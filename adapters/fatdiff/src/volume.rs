//! The geometry of a FAT file system, its allocation table, and chains of clusters.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::FatError;

/// Bytes of a sector. File systems with larger sectors are refused.
pub const SECTOR: usize = 512;

/// The numbers of the two clusters that do not exist; the first real one is 2.
pub(crate) const FIRST_CLUSTER: u32 = 2;

/// Bits of an entry of the allocation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// Where the parts of a file system are. Offsets are in bytes from the partition's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) width: Width,
    /// Offset of the flags by which a driver marks the file system as in use.
    pub(crate) flags_at: usize,
    /// Sectors with the counters of free clusters: the one in use and its backup. FAT32 only.
    pub(crate) counters: Vec<usize>,
    /// The copies of the allocation table.
    pub(crate) tables: Vec<Range<usize>>,
    /// The root directory, if it is not a chain of clusters.
    pub(crate) fixed_root: Range<usize>,
    /// First cluster of the root directory, if it is one.
    pub(crate) root_cluster: Option<u32>,
    /// Where the first cluster begins.
    pub(crate) data_at: usize,
    /// Bytes of a cluster.
    pub(crate) cluster_bytes: usize,
    /// The number after that of the last cluster.
    pub(crate) clusters_end: u32,
}

impl Geometry {
    /// Reads the parameters in the first sector.
    pub(crate) fn read(partition: &[u8]) -> Result<Self, FatError> {
        if partition.len() < SECTOR || partition[510..512] != [0x55, 0xaa] {
            return Err(FatError::NotFat("the boot sector has no signature"));
        }
        let byte = |at: usize| usize::from(partition[at]);
        let half = |at: usize| byte(at) | byte(at + 1) << 8;
        let word = |at: usize| half(at) | half(at + 2) << 16;
        let either = |short: usize, long: usize| if short == 0 { long } else { short };
        if half(11) != SECTOR {
            return Err(FatError::NotFat("its sectors do not have 512 bytes"));
        }
        let per_cluster = byte(13);
        let (reserved, copies, root_records) = (half(14), byte(16), half(17));
        let sectors = either(half(19), word(32));
        let table_sectors = either(half(22), word(36));
        if per_cluster == 0 || copies == 0 || reserved == 0 || table_sectors == 0 {
            return Err(FatError::NotFat("one of its parameters is zero"));
        }
        let root_at = reserved + copies * table_sectors;
        let data_at = root_at + (root_records * 32).div_ceil(SECTOR);
        if data_at >= sectors || sectors * SECTOR > partition.len() {
            return Err(FatError::NotFat("its size does not fit the partition"));
        }
        let clusters = (sectors - data_at) / per_cluster;
        let width = match clusters {
            ..4085 => Width::Fat12,
            4085..65525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let is_32 = width == Width::Fat32;
        let table = |copy: usize| {
            let at = reserved + copy * table_sectors;
            at * SECTOR..(at + table_sectors) * SECTOR
        };
        let counters = [half(48), half(50) + half(48)].into_iter().filter(|at| is_32 && *at < reserved);
        Ok(Self {
            width,
            flags_at: if is_32 { 0x41 } else { 0x25 },
            counters: counters.collect(),
            tables: (0..copies).map(table).collect(),
            fixed_root: root_at * SECTOR..data_at * SECTOR,
            root_cluster: is_32.then(|| u32::try_from(word(44)).unwrap_or_default()),
            data_at: data_at * SECTOR,
            cluster_bytes: per_cluster * SECTOR,
            clusters_end: u32::try_from(clusters).unwrap_or_default() + FIRST_CLUSTER,
        })
    }

    /// Where a cluster is.
    pub(crate) fn cluster(&self, number: u32) -> Range<usize> {
        let at = self.data_at + (number - FIRST_CLUSTER) as usize * self.cluster_bytes;
        at..at + self.cluster_bytes
    }

    /// The cluster that holds a byte; `None` if none does.
    pub(crate) fn cluster_at(&self, offset: usize) -> Option<u32> {
        let index = offset.checked_sub(self.data_at)? / self.cluster_bytes;
        let number = u32::try_from(index).ok()? + FIRST_CLUSTER;
        (number < self.clusters_end).then_some(number)
    }

    /// The numbers of the entries to which a byte of the allocation table belongs.
    pub(crate) fn entries_at(&self, offset_in_table: usize) -> Range<usize> {
        let at = offset_in_table;
        match self.width {
            Width::Fat12 => at * 2 / 3..(at * 2 + 1) / 3 + 1,
            Width::Fat16 => at / 2..at / 2 + 1,
            Width::Fat32 => at / 4..at / 4 + 1,
        }
    }
}

/// A FAT file system in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) geometry: &'a Geometry,
}

impl Volume<'_> {
    /// An entry of a copy of the allocation table, without reserved bits.
    pub(crate) fn entry(&self, copy: usize, number: usize) -> u32 {
        let table = &self.bytes[self.geometry.tables[copy].clone()];
        let byte = |at: usize| table.get(at).copied().map_or(0, u32::from);
        match self.geometry.width {
            Width::Fat12 => {
                let at = number * 3 / 2;
                let pair = byte(at) | byte(at + 1) << 8;
                if number.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }
            }
            Width::Fat16 => byte(number * 2) | byte(number * 2 + 1) << 8,
            Width::Fat32 => (0..4).map(|i| byte(number * 4 + i) << (8 * i)).sum::<u32>() & 0x0fff_ffff,
        }
    }

    /// Whether a cluster is free by the first copy of the allocation table.
    pub(crate) fn is_free(&self, cluster: u32) -> bool {
        self.entry(0, cluster as usize) == 0
    }

    /// The clusters of a chain, in order. Zero begins an empty chain.
    ///
    /// # Errors
    /// The chain leaves the file system or has a circle.
    pub(crate) fn chain(&self, first: u32) -> Result<Vec<u32>, FatError> {
        let last_mark = match self.geometry.width {
            Width::Fat12 => 0xff8,
            Width::Fat16 => 0xfff8,
            Width::Fat32 => 0x0fff_fff8,
        };
        let mut chain = Vec::new();
        let mut known = BTreeSet::new();
        let mut next = first;
        while next != 0 && next < last_mark {
            if !(FIRST_CLUSTER..self.geometry.clusters_end).contains(&next) || !known.insert(next) {
                return Err(FatError::Damaged(format!(
                    "the chain from cluster {first} breaks off at {next}"
                )));
            }
            chain.push(next);
            next = self.entry(0, next as usize);
        }
        Ok(chain)
    }
}
