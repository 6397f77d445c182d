//! What one judgement compares: both disks, the log, and the writes of each window of the disk.

use std::ops::Range;

use super::options::{DiscardReads, Options};
use super::{OracleError, SECTOR_BYTES, SectorSource, WriteLog};

/// Sectors per window: 16 MiB.
pub(super) const WINDOW_SECTORS: u64 = 32 << 10;

/// A maximal range of cuts at which one sector does not hold what the log says.
///
/// A sector may have several, in ascending order. A range from 0 to past the last cut means that no
/// version of the sector ever had this content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub sector: u64,
    /// Cuts, end excluded.
    pub cuts: Range<u64>,
    pub exempt: bool,
}

/// Both disks and the log of one judgement.
pub(super) struct Walk<'a> {
    pub base: &'a dyn SectorSource,
    pub recovered: &'a dyn SectorSource,
    pub log: &'a WriteLog,
    pub discards: DiscardReads,
    exempt: Vec<Range<u64>>,
    pub disk_sectors: u64,
    /// Indices of the writes that touch each window.
    pub windows: Vec<Vec<usize>>,
}

impl<'a> Walk<'a> {
    pub fn new(
        base: &'a dyn SectorSource,
        log: &'a WriteLog,
        recovered: &'a dyn SectorSource,
        options: &Options,
    ) -> Result<Self, OracleError> {
        let bytes = base.bytes();
        if log.disk_bytes() != bytes {
            return Err(OracleError::SizeMismatch { base: bytes, log: log.disk_bytes() });
        }
        if recovered.bytes() != bytes || recovered.stored_bytes() < base.stored_bytes() {
            let base = base.stored_bytes();
            return Err(OracleError::RecoveredSize { base, recovered: recovered.stored_bytes() });
        }
        if !bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(OracleError::NotSectors { bytes });
        }
        let disk_sectors = bytes / SECTOR_BYTES;
        let exempt = merged(&options.exempt, disk_sectors);
        let exempted: u64 = exempt.iter().map(|r| r.end - r.start).sum();
        if exempted == disk_sectors {
            return Err(OracleError::NothingCompared { bytes, exempt: exempted });
        }
        let windows = windows(log, disk_sectors);
        Ok(Self { base, recovered, log, discards: options.discards, exempt, disk_sectors, windows })
    }

    /// The number of cuts, which is one past the last cut.
    pub fn cuts(&self) -> u64 {
        self.log.len() + 1
    }

    pub fn is_exempt(&self, sector: u64) -> bool {
        let next = self.exempt.partition_point(|range| range.end <= sector);
        self.exempt.get(next).is_some_and(|range| range.contains(&sector))
    }

    /// How many of these sectors are exempt.
    pub fn exempt_in(&self, sectors: &Range<u64>) -> u64 {
        let within = |r: &Range<u64>| r.end.min(sectors.end).saturating_sub(r.start.max(sectors.start));
        self.exempt.iter().map(within).sum()
    }
}

/// Sorts and merges ranges, and clips them to the disk.
pub(super) fn merged(ranges: &[Range<u64>], disk_sectors: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> =
        ranges.iter().map(|r| r.start..r.end.min(disk_sectors)).filter(|r| r.start < r.end).collect();
    sorted.sort_by_key(|r| r.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

fn windows(log: &WriteLog, disk_sectors: u64) -> Vec<Vec<usize>> {
    let mut windows = vec![Vec::new(); disk_sectors.div_ceil(WINDOW_SECTORS) as usize];
    for (i, entry) in log.entries().iter().enumerate() {
        let range = entry.range();
        // A log with large sectors may reach past a disk that ends inside one.
        let last = range.end.min(disk_sectors).saturating_sub(1) / WINDOW_SECTORS;
        for window in range.start / WINDOW_SECTORS..=last {
            if let Some(writes) = windows.get_mut(window as usize) {
                writes.push(i);
            }
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_ranges_are_merged_and_clipped() {
        let ranges = [5..9, 0..2, 8..20, 4..4, 2..3];
        assert_eq!(merged(&ranges, 10), vec![0..3, 5..10]);
    }
}
