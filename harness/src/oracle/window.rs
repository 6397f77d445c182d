//! A part of the disk, compared with all versions that the log gives to its sectors.

use std::io;
use std::ops::Range;

use super::options::DiscardReads;
use super::source::{next_chunk, read_sparse};
use super::walk::{Mismatch, Walk, merged};
use super::{OracleError, SECTOR, SECTOR_BYTES};

/// Unwritten sectors between two runs up to which reading both at once costs less than reading
/// each: 16 KiB.
const GAP: u64 = 32;
/// Bytes from which on a run is read without its holes.
const SPARSE_BYTES: usize = 1 << 20;

/// Marks a sector that matches now; otherwise the state holds the cut since which it does not.
const FITS: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct State {
    since: u64,
    written: bool,
}

/// Consecutive sectors that writes touch, with small gaps.
struct Run {
    sectors: Range<u64>,
    /// The place of its first sector in the buffers.
    first: usize,
}

/// The buffers of one window: they hold its runs, one after the other.
pub(super) struct Window<'a> {
    walk: &'a Walk<'a>,
    runs: Vec<Run>,
    recovered: Vec<u8>,
    base: Vec<u8>,
    states: Vec<State>,
    data: Vec<u8>,
    /// What was found, until it is taken.
    pub mismatches: Vec<Mismatch>,
}

impl<'a> Window<'a> {
    pub fn new(walk: &'a Walk<'a>) -> Self {
        let (runs, states, mismatches) = (Vec::new(), Vec::new(), Vec::new());
        let (recovered, base, data) = (Vec::new(), Vec::new(), Vec::new());
        Self { walk, runs, recovered, base, states, data, mismatches }
    }

    /// Compares `sectors` with every version; `writes` are the indices of the writes that touch
    /// them. Returns how many of them are written and not exempt.
    pub fn process(&mut self, sectors: Range<u64>, writes: &[usize]) -> Result<u64, OracleError> {
        self.find_runs(&sectors, writes);
        self.load_runs()?;
        for index in writes {
            self.apply(*index, &sectors)?;
        }
        let written = self.finish();
        self.unwritten(sectors)?;
        Ok(written)
    }

    fn find_runs(&mut self, sectors: &Range<u64>, writes: &[usize]) {
        let entries = writes.iter().filter_map(|index| self.walk.log.entries().get(*index));
        let parts = entries.map(|entry| clipped(&entry.range(), sectors));
        let widened: Vec<_> = parts.map(|part| part.start..part.end + GAP).collect();
        let mut first = 0;
        self.runs.clear();
        for run in merged(&widened, u64::MAX) {
            let sectors = run.start..run.end - GAP;
            let len = (sectors.end - sectors.start) as usize;
            self.runs.push(Run { sectors, first });
            first += len;
        }
        self.recovered.resize(first * SECTOR, 0);
        self.base.resize(first * SECTOR, 0);
        self.states.clear();
        self.states.resize(first, State { since: FITS, written: false });
    }

    /// Loads the runs as they are at cut 0.
    fn load_runs(&mut self) -> Result<(), OracleError> {
        for run in &self.runs {
            let bytes = run.bytes();
            let offset = run.sectors.start * SECTOR_BYTES;
            let (recovered, base) = (&mut self.recovered[bytes.clone()], &mut self.base[bytes]);
            read(self.walk, offset, recovered, base)?;
        }
        self.mark_differing_from_base();
        Ok(())
    }

    /// Most sectors equal the base, so large blocks are compared first.
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

    /// Applies the part of a write that lies in the window.
    fn apply(&mut self, index: usize, window: &Range<u64>) -> Result<(), OracleError> {
        let Some(entry) = self.walk.log.entries().get(index) else { return Ok(()) };
        let part = clipped(&entry.range(), window);
        let len = (part.end - part.start) as usize;
        // Runs are in order, and a write lies in one of them.
        let run = self.runs.partition_point(|run| run.sectors.end < part.end);
        let Some(run) = self.runs.get(run) else { return Ok(()) };
        let first = run.first + (part.start - run.sectors.start) as usize;
        let cut = index as u64 + 1;
        if entry.is_discard() {
            self.discard(first..first + len, part.start, cut);
            return Ok(());
        }
        self.data.resize(len * SECTOR, 0);
        self.walk.log.read_data(entry, part.start - entry.sector, &mut self.data)?;
        let all_fit = self.data == self.recovered[first * SECTOR..(first + len) * SECTOR];
        for i in 0..len {
            let place = (first + i) * SECTOR;
            let fits =
                all_fit || self.data[i * SECTOR..(i + 1) * SECTOR] == self.recovered[place..place + SECTOR];
            self.turn(first + i, part.start + i as u64, fits, cut);
        }
        Ok(())
    }

    /// After a discard a sector may hold its old content or zeroes, as the options allow.
    fn discard(&mut self, places: Range<usize>, first_sector: u64, cut: u64) {
        for (place, sector) in places.zip(first_sector..) {
            let kept = self.states[place].since == FITS;
            let zero = || is_zero(&self.recovered[place * SECTOR..(place + 1) * SECTOR]);
            let fits = match self.walk.discards {
                DiscardReads::OldOrZero => kept || zero(),
                DiscardReads::Zero => zero(),
                DiscardReads::Old => kept,
            };
            self.turn(place, sector, fits, cut);
        }
    }

    /// Records whether `sector`, at `place` in the buffers, matches from `cut` on.
    fn turn(&mut self, place: usize, sector: u64, fits: bool, cut: u64) {
        let state = &mut self.states[place];
        state.written = true;
        match (state.since, fits) {
            (FITS, false) => state.since = cut,
            (FITS, true) | (_, false) => {}
            (since, true) => {
                state.since = FITS;
                self.differs(sector, since..cut);
            }
        }
    }

    /// Reports the sectors of the runs that do not match at the end; returns the number of sectors
    /// written.
    fn finish(&mut self) -> u64 {
        let mut written = 0;
        for run in std::mem::take(&mut self.runs) {
            for (sector, place) in run.sectors.clone().zip(run.first..) {
                let state = self.states[place];
                written += u64::from(state.written && !self.walk.is_exempt(sector));
                if state.since != FITS {
                    self.differs(sector, state.since..self.walk.cuts());
                }
            }
            self.runs.push(run);
        }
        written
    }

    /// Everything between the runs must equal the base; a hole in both does.
    fn unwritten(&mut self, window: Range<u64>) -> Result<(), OracleError> {
        let mut at = window.start;
        for run in std::mem::take(&mut self.runs) {
            self.equals_base(at..run.sectors.start)?;
            at = run.sectors.end;
        }
        self.equals_base(at..window.end)
    }

    fn equals_base(&mut self, sectors: Range<u64>) -> Result<(), OracleError> {
        let walk = self.walk;
        let (mut at, end) = (sectors.start * SECTOR_BYTES, sectors.end * SECTOR_BYTES);
        let layout = |at| move |source| OracleError::Read { disk: "base or recovered", offset: at, source };
        while at < end
            && let Some(chunk) = next_chunk(walk.base, walk.recovered, at, end).map_err(layout(at))?
        {
            let len = (chunk.end - chunk.start) as usize;
            self.recovered.resize(len.max(self.recovered.len()), 0);
            self.base.resize(len.max(self.base.len()), 0);
            let (found, base) = (&mut self.recovered[..len], &mut self.base[..len]);
            read(walk, chunk.start, found, base)?;
            if found != base {
                self.differing_sectors(chunk.start / SECTOR_BYTES, len);
            }
            at = chunk.end;
        }
        Ok(())
    }

    /// Reports the sectors that differ from the base in the first `len` bytes of the buffers.
    fn differing_sectors(&mut self, first: u64, len: usize) {
        let pairs = self.recovered[..len].chunks(SECTOR).zip(self.base[..len].chunks(SECTOR));
        let differing: Vec<u64> =
            pairs.zip(first..).filter(|((x, y), _)| x != y).map(|(_, sector)| sector).collect();
        differing.into_iter().for_each(|sector| self.differs(sector, 0..self.walk.cuts()));
    }

    fn differs(&mut self, sector: u64, cuts: Range<u64>) {
        self.mismatches.push(Mismatch { sector, cuts, exempt: self.walk.is_exempt(sector) });
    }
}

impl Run {
    /// The bytes of the buffers that hold it.
    fn bytes(&self) -> Range<usize> {
        let len = (self.sectors.end - self.sectors.start) as usize;
        self.first * SECTOR..(self.first + len) * SECTOR
    }
}

/// Reads the same bytes of both disks.
fn read(walk: &Walk<'_>, offset: u64, recovered: &mut [u8], base: &mut [u8]) -> Result<(), OracleError> {
    let failed = |disk| move |source: io::Error| OracleError::Read { disk, offset, source };
    if recovered.len() < SPARSE_BYTES {
        walk.recovered.read_at(offset, recovered).map_err(failed("recovered"))?;
        return walk.base.read_at(offset, base).map_err(failed("base"));
    }
    read_sparse(walk.recovered, offset, recovered).map_err(failed("recovered"))?;
    read_sparse(walk.base, offset, base).map_err(failed("base"))
}

/// The part of `range` that lies in `window`.
fn clipped(range: &Range<u64>, window: &Range<u64>) -> Range<u64> {
    range.start.max(window.start)..range.end.min(window.end)
}

pub(super) fn is_zero(sector: &[u8]) -> bool {
    sector.iter().fold(0, |all, byte| all | byte) == 0
}
