//! One pass over both disks and the log that reports, for each sector, the cuts at which it
//! disagrees.
//!
//! The disk is processed in windows, to limit memory, and the writes of each window in order.
//! Content is compared byte for byte; no hashes are used.

use std::io;
use std::ops::Range;

use super::options::{DiscardReads, Options};
use super::source::{next_chunk, read_sparse};
use super::{OracleError, SECTOR, SECTOR_BYTES, SectorSource, WriteLog};

/// Sectors per window: 16 MiB.
const WINDOW_SECTORS: u64 = 32 << 10;

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

/// Receives the mismatches, in no particular order of sectors.
pub(super) trait Sink {
    fn mismatch(&mut self, mismatch: Mismatch);
}

/// Number of sectors processed. Exempt sectors are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub written: u64,
    pub compared: u64,
}

/// Both disks and the log of one judgement.
pub(super) struct Walk<'a> {
    base: &'a dyn SectorSource,
    pub recovered: &'a dyn SectorSource,
    pub log: &'a WriteLog,
    pub discards: DiscardReads,
    exempt: Vec<Range<u64>>,
    pub disk_sectors: u64,
    /// Indices of the writes that touch each window.
    windows: Vec<Vec<usize>>,
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

    /// Processes the whole disk.
    pub fn run(&self, sink: &mut dyn Sink) -> Result<Seen, OracleError> {
        let mut seen = Seen::default();
        let mut window = Window::default();
        for (i, writes) in self.windows.iter().enumerate() {
            let start = i as u64 * WINDOW_SECTORS;
            let sectors = start..(start + WINDOW_SECTORS).min(self.disk_sectors);
            seen.compared += sectors.end - sectors.start - self.exempt_in(&sectors);
            if writes.is_empty() {
                self.unwritten(sectors, &mut window, sink)?;
            } else {
                self.written(sectors, writes, &mut window, sink)?;
                seen.written += self.finish(&mut window, sink);
            }
        }
        Ok(seen)
    }

    pub fn is_exempt(&self, sector: u64) -> bool {
        let next = self.exempt.partition_point(|range| range.end <= sector);
        self.exempt.get(next).is_some_and(|range| range.contains(&sector))
    }

    fn exempt_in(&self, sectors: &Range<u64>) -> u64 {
        let within = |r: &Range<u64>| r.end.min(sectors.end).saturating_sub(r.start.max(sectors.start));
        self.exempt.iter().map(within).sum()
    }

    /// A window without writes must equal the base; a hole in both does.
    fn unwritten(&self, sectors: Range<u64>, w: &mut Window, sink: &mut dyn Sink) -> Result<(), OracleError> {
        let (mut at, end) = (sectors.start * SECTOR_BYTES, sectors.end * SECTOR_BYTES);
        let layout = |at| move |source| OracleError::Read { disk: "base or recovered", offset: at, source };
        while let Some(chunk) = next_chunk(self.base, self.recovered, at, end).map_err(layout(at))? {
            let first = chunk.start / SECTOR_BYTES;
            w.load(self, first..chunk.end / SECTOR_BYTES)?;
            self.finish(w, sink);
            at = chunk.end;
        }
        Ok(())
    }

    /// Applies all writes of a window.
    fn written(
        &self,
        sectors: Range<u64>,
        writes: &[usize],
        w: &mut Window,
        sink: &mut dyn Sink,
    ) -> Result<(), OracleError> {
        w.load(self, sectors.clone())?;
        for index in writes {
            let Some(entry) = self.log.entries().get(*index) else { continue };
            let part = entry.sector.max(sectors.start)..entry.range().end.min(sectors.end);
            let cut = *index as u64 + 1;
            if entry.is_discard() {
                self.discard(part, cut, w, sink);
                continue;
            }
            w.data.resize((part.end - part.start) as usize * SECTOR, 0);
            self.log.read_data(entry, part.start - entry.sector, &mut w.data)?;
            for (i, sector) in part.enumerate() {
                let fits = w.data[i * SECTOR..(i + 1) * SECTOR] == *w.found(sector);
                self.turn(w, sector, fits, cut, sink);
            }
        }
        Ok(())
    }

    /// After a discard a sector may hold its old content or zeroes, as the options allow.
    fn discard(&self, part: Range<u64>, cut: u64, w: &mut Window, sink: &mut dyn Sink) {
        for sector in part {
            let kept = w.state(sector).since == FITS;
            let zero = is_zero(w.found(sector));
            let fits = match self.discards {
                DiscardReads::OldOrZero => kept || zero,
                DiscardReads::Zero => zero,
                DiscardReads::Old => kept,
            };
            self.turn(w, sector, fits, cut, sink);
        }
    }

    /// Records whether `sector` matches from `cut` on.
    fn turn(&self, w: &mut Window, sector: u64, fits: bool, cut: u64, sink: &mut dyn Sink) {
        let state = w.state(sector);
        state.written = true;
        match (state.since, fits) {
            (FITS, false) => state.since = cut,
            (FITS, true) | (_, false) => {}
            (since, true) => {
                state.since = FITS;
                sink.mismatch(Mismatch { sector, cuts: since..cut, exempt: self.is_exempt(sector) });
            }
        }
    }

    /// Reports the sectors that do not match at the end; returns the number of sectors written.
    fn finish(&self, w: &mut Window, sink: &mut dyn Sink) -> u64 {
        let mut written = 0;
        for (state, sector) in w.states.iter().zip(w.start..) {
            let exempt = || self.is_exempt(sector);
            written += u64::from(state.written && !exempt());
            if state.since != FITS {
                sink.mismatch(Mismatch { sector, cuts: state.since..self.cuts(), exempt: exempt() });
            }
        }
        written
    }
}

/// Marks a sector that matches now; otherwise the state holds the cut since which it does not.
const FITS: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct State {
    since: u64,
    written: bool,
}

/// A part of the disk, and the state of its sectors after the writes applied so far.
#[derive(Default)]
struct Window {
    start: u64,
    recovered: Vec<u8>,
    base: Vec<u8>,
    states: Vec<State>,
    data: Vec<u8>,
}

impl Window {
    /// Loads `sectors` as they are at cut 0.
    fn load(&mut self, walk: &Walk<'_>, sectors: Range<u64>) -> Result<(), OracleError> {
        let len = (sectors.end - sectors.start) as usize;
        let offset = sectors.start * SECTOR_BYTES;
        let failed = |disk| move |source: io::Error| OracleError::Read { disk, offset, source };
        self.start = sectors.start;
        self.recovered.resize(len * SECTOR, 0);
        self.base.resize(len * SECTOR, 0);
        read_sparse(walk.recovered, offset, &mut self.recovered).map_err(failed("recovered"))?;
        read_sparse(walk.base, offset, &mut self.base).map_err(failed("base"))?;
        self.states.clear();
        self.states.resize(len, State { since: FITS, written: false });
        self.mark_differing_from_base();
        Ok(())
    }

    /// Most of a window equals the base, so large blocks are compared first.
    fn mark_differing_from_base(&mut self) {
        const BLOCK: usize = 128;
        for (i, states) in self.states.chunks_mut(BLOCK).enumerate() {
            let block = i * BLOCK * SECTOR..(i * BLOCK + states.len()) * SECTOR;
            let (found, base) = (&self.recovered[block.clone()], &self.base[block]);
            if found == base {
                continue;
            }
            for ((state, x), y) in states.iter_mut().zip(found.chunks(SECTOR)).zip(base.chunks(SECTOR)) {
                state.since = if x == y { FITS } else { 0 };
            }
        }
    }

    fn found(&self, sector: u64) -> &[u8] {
        let at = (sector - self.start) as usize * SECTOR;
        &self.recovered[at..at + SECTOR]
    }

    fn state(&mut self, sector: u64) -> &mut State {
        &mut self.states[(sector - self.start) as usize]
    }
}

pub(super) fn is_zero(sector: &[u8]) -> bool {
    sector.iter().fold(0, |all, byte| all | byte) == 0
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
