//! The oracle's self-test: in every run one sector of a recovered disk is altered, and the oracle
//! has to report exactly that sector.

use std::io;
use std::ops::Range;

use witness::random::Random;

use super::walk::merged;
use super::{Options, OracleError, SECTOR, SECTOR_BYTES, SectorSource, Verdict, WriteLog, judge};

/// A disk with every byte of one sector altered.
///
/// The bytes are not merely inverted, because a sector of zeroes and one of ones can both be
/// versions of the same sector. The result looks like noise that no guest writes.
#[derive(Debug)]
pub struct Flipped<'a, S: SectorSource + ?Sized> {
    disk: &'a S,
    sector: u64,
}

impl<'a, S: SectorSource + ?Sized> Flipped<'a, S> {
    /// Wraps `disk` with `sector` altered.
    pub fn new(disk: &'a S, sector: u64) -> Self {
        Self { disk, sector }
    }
}

/// The mask for byte `i` of a sector; never 0.
fn mask(sector: u64, i: u64) -> u8 {
    (mix(sector.wrapping_mul(SECTOR_BYTES).wrapping_add(i)) >> 56) as u8 | 1
}

/// A number that depends on every bit of `seed`.
fn mix(seed: u64) -> u64 {
    Random::new(seed).next_u64()
}

impl<S: SectorSource + ?Sized> SectorSource for Flipped<'_, S> {
    fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    fn stored_bytes(&self) -> u64 {
        self.disk.stored_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buf)?;
        let start = self.sector.saturating_mul(SECTOR_BYTES);
        let (from, to) =
            (start.max(offset), (start.saturating_add(SECTOR_BYTES)).min(offset + buf.len() as u64));
        for at in from..to {
            buf[(at - offset) as usize] ^= mask(self.sector, at - start);
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let start = self.sector.saturating_mul(SECTOR_BYTES);
        let altered = start.max(offset)..start.saturating_add(SECTOR_BYTES).min(self.bytes());
        let data = self.disk.next_data(offset)?;
        Ok(match data {
            Some(data) if altered.is_empty() || data.start <= altered.start => Some(data),
            _ if !altered.is_empty() => Some(altered),
            data => data,
        })
    }
}

/// Sectors to alter: one that the log writes and one that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlipSectors {
    /// A sector that the log writes. `None` if it writes no sector outside the exempt ranges.
    pub written: Option<u64>,
    /// A sector that must equal the base. `None` if every sector is written or exempt.
    pub unwritten: Option<u64>,
}

/// Chooses sectors to alter. The choice depends only on seed, log and options.
#[must_use]
pub fn flip_sectors(seed: u64, log: &WriteLog, options: &Options) -> FlipSectors {
    let disk = log.disk_bytes() / SECTOR_BYTES;
    let exempt = merged(&options.exempt, disk);
    let touched =
        log.entries().iter().filter(|e| !e.is_discard()).map(super::Entry::range).collect::<Vec<_>>();
    let any = log.entries().iter().map(super::Entry::range).chain(exempt.iter().cloned()).collect::<Vec<_>>();
    let written = without(&merged(&touched, disk), &exempt);
    let unwritten = without(std::slice::from_ref(&(0..disk)), &merged(&any, disk));
    FlipSectors { written: pick(mix(seed), &written), unwritten: pick(mix(seed ^ 1), &unwritten) }
}

/// `ranges` less `holes`, both in order and without overlaps.
fn without(ranges: &[Range<u64>], holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut at = range.start;
        let first = holes.partition_point(|hole| hole.end <= range.start);
        for hole in holes[first..].iter().take_while(|hole| hole.start < range.end) {
            left.push(at..hole.start.max(at));
            at = hole.end.max(at);
        }
        left.push(at.min(range.end)..range.end);
    }
    left.retain(|range| !range.is_empty());
    left
}

fn pick(random: u64, ranges: &[Range<u64>]) -> Option<u64> {
    let total: u64 = ranges.iter().map(|r| r.end - r.start).sum();
    let mut index = random.checked_rem(total)?;
    for range in ranges {
        let len = range.end - range.start;
        if index < len {
            return Some(range.start + index);
        }
        index -= len;
    }
    None
}

/// The self-test failed: the oracle did not report an altered sector, or reported another one.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// It returned another verdict.
    #[error("the oracle failed its self-test: sector {sector} was altered, and the verdict is: {verdict}")]
    WrongVerdict {
        /// The altered sector.
        sector: u64,
        /// Its verdict.
        verdict: Box<Verdict>,
    },
    /// It reached no verdict.
    #[error("sector {sector} was altered, and no verdict was reached: {source}")]
    NoVerdict {
        /// The altered sector.
        sector: u64,
        /// The error.
        source: OracleError,
    },
}

/// Alters `sector` of a recovered disk that was judged exact or epoch-consistent, and checks that
/// the oracle reports that very sector.
///
/// # Errors
/// The oracle does not report it; then no verdict of this run can be trusted.
pub fn self_test(
    base: &dyn SectorSource,
    log: &WriteLog,
    recovered: &dyn SectorSource,
    options: &Options,
    sector: u64,
) -> Result<Verdict, SelfTestError> {
    let flipped = Flipped::new(recovered, sector);
    let verdict = match judge(base, log, &flipped, options) {
        Ok(judgement) => judgement.verdict,
        Err(source) => return Err(SelfTestError::NoVerdict { sector, source }),
    };
    if verdict.offending_sector() == Some(sector) {
        return Ok(verdict);
    }
    Err(SelfTestError::WrongVerdict { sector, verdict: Box::new(verdict) })
}

const _: () = assert!(SECTOR as u64 == SECTOR_BYTES);

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init)]
mod tests {
    use super::super::MemorySource;
    use super::*;

    #[test]
    fn every_byte_of_the_sector_and_no_other_is_altered() {
        let disk = MemorySource(vec![7; 4 * SECTOR]);
        let flipped = Flipped::new(&disk, 2);
        let mut found = vec![0; 3 * SECTOR + 100];
        flipped.read_at(412, &mut found).expect("in range");
        for (i, byte) in found.iter().enumerate() {
            let altered = (2 * SECTOR..3 * SECTOR).contains(&(i + 412));
            assert_eq!(*byte != 7, altered, "byte {}", i + 412);
        }
    }

    #[test]
    fn ranges_are_subtracted() {
        assert_eq!(without(&[0..10, 20..30], &[2..4, 8..22, 29..40]), vec![0..2, 4..8, 22..29]);
        assert_eq!(without(&[0..10], &[]), vec![0..10]);
        assert_eq!(without(&[3..5], &[0..10]), vec![]);
        assert_eq!(pick(7, &[0..2, 10..13]), Some(10));
        assert_eq!(pick(5, &[]), None);
    }
}
