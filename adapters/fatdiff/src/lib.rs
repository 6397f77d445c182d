//! Finds what differs between two states of a FAT partition, sector by sector, and whether edits of
//! given files explain it.
//!
//! A program that edits a file changes the file's clusters, their entries in each copy of the file
//! allocation table, the file's entry in its directory, and the counters and flags that a FAT
//! driver keeps. [`compare`] computes from the structure which sectors these are. Any other sector
//! that differs is [`Damage`].
//!
//! - `volume`: geometry, allocation table, cluster chains
//! - `tree`: directories, files, and who uses which cluster
//! - `explain`: the comparison

mod explain;
#[cfg(test)]
mod tests;
mod tree;
mod volume;

use std::ops::Range;

pub use explain::compare;
pub use volume::SECTOR;

/// Why a partition cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// It does not begin with the parameters of a FAT file system.
    #[error("there is no FAT file system: {0}")]
    NotFat(&'static str),
    /// Its structure contradicts itself.
    #[error("the FAT file system is damaged: {0}")]
    Damaged(String),
}

/// What differs between two states of a partition. Sectors are counted from its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Sectors that differ and may: edits of the given files explain each byte. Ranges are in order
    /// and do not touch.
    pub explained: Vec<Range<u64>>,
    /// Every other sector that differs, in order.
    pub damage: Vec<Damage>,
}

/// A sector that differs and must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The sector. [`compare`] counts from the beginning of the partition.
    pub sector: u64,
    /// What the sector belongs to, such as `cluster 7 of /vmlinuz`.
    pub place: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sector {} ({})", self.sector, self.place)
    }
}
