//! Places a recovered disk in the write order.
//!
//! For every sector the cuts are found at which its content is right. The feasible cuts are those at which
//! no sector disagrees, counted for all cuts at once: each run of disagreement adds one at its first cut
//! and takes one away behind its last.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::inexact::Inexact;
use super::tally::{Counts, Tally};
use super::verdict::{Judgement, Verdict};
use super::walk::{Seen, Walk};
use super::{Cut, CutRange, OracleError, SECTOR_BYTES, SectorSource, WriteLog};

/// What a sector may hold after a discard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscardReads {
    /// What it held, or zeroes: what QEMU promises.
    #[default]
    OldOrZero,
    /// Zeroes: disks with `discard=unmap` and `detect-zeroes` semantics.
    Zero,
    /// What it held: disks that ignore discards.
    Old,
}

/// How to judge.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Options {
    /// Ranges of sectors that may differ, such as a boot partition edited by hydration. They are left out
    /// and their differences counted.
    pub exempt: Vec<Range<u64>>,
    /// What a sector may hold after a discard.
    pub discards: DiscardReads,
    /// Sectors that may have been written without reaching the log. Only for the own disk of a QEMU that
    /// was killed: it logs a write after it is done. 0 for any other.
    pub in_flight_sectors: u64,
}

/// Places `recovered` in the write order of `log`, which began on `base`.
///
/// # Errors
/// The disks have different sizes, one of them or the log cannot be read, or there is nothing to compare.
pub fn judge(
    base: &dyn SectorSource,
    log: &WriteLog,
    recovered: &dyn SectorSource,
    options: &Options,
) -> Result<Judgement, OracleError> {
    let walk = Walk::new(base, log, recovered, options)?;
    let mut tally = Tally::new(log);
    let seen = walk.run(&mut tally)?;
    let counts = Counts::new(&tally);
    let (verdict, place) = match Verdict::exact(&counts.feasible, log) {
        Some((verdict, place)) => (verdict, place),
        None => Inexact { walk: &walk, log, options, tally: &tally, counts: &counts }.verdict()?,
    };
    Ok(judgement(verdict, seen, counts.exempt_at(place)))
}

fn judgement(verdict: Verdict, seen: Seen, exempt_differences: u64) -> Judgement {
    Judgement {
        verdict,
        sectors_written: seen.written,
        sectors_compared: seen.compared,
        bytes_compared: seen.compared * SECTOR_BYTES,
        exempt_differences,
    }
}

impl Verdict {
    fn exact(feasible: &[CutRange], log: &WriteLog) -> Option<(Self, Cut)> {
        let (first, last) = (feasible.first()?, feasible.last()?);
        let cut = CutRange { earliest: first.earliest, latest: last.latest };
        let feasible = feasible.to_vec();
        Some((Self::Exact { cut, feasible, of: log.len() }, cut.latest))
    }
}
