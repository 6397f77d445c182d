//! Finds the position of a recovered disk in the write order.
//!
//! For every sector, the cuts are determined at which its content matches. The feasible cuts are
//! those at which no sector disagrees. They are counted for all cuts at once: each range of
//! disagreement adds one at its first cut and subtracts one after its last.

use super::inexact::Inexact;
use super::pass::{self, Seen};
use super::tally::{Counts, Tally};
use super::verdict::{Judgement, Verdict};
use super::walk::Walk;
use super::{Cut, CutRange, Options, OracleError, SECTOR_BYTES, SectorSource, WriteLog};

/// Finds the position of `recovered` in the write order of `log`, which began on `base`.
///
/// # Errors
/// The disks have different sizes, one of them or the log cannot be read, or there is nothing to
/// compare.
pub fn judge(
    base: &dyn SectorSource,
    log: &WriteLog,
    recovered: &dyn SectorSource,
    options: &Options,
) -> Result<Judgement, OracleError> {
    let walk = Walk::new(base, log, recovered, options)?;
    let mut tally = Tally::new(log);
    let seen = pass::run(&walk, &mut tally)?;
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
