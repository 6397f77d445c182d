//! What the oracle says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cut::Grouped;
use super::{Cut, CutRange, Position};

/// A verdict, and what was looked at to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    /// Where the disk stands in the write order.
    pub verdict: Verdict,
    /// Distinct sectors the log writes or discards, without exempt ones.
    pub sectors_written: u64,
    /// Sectors of the recovered disk that were compared, without exempt ones.
    pub sectors_compared: u64,
    /// The same in bytes; never 0.
    pub bytes_compared: u64,
    /// Exempt sectors that are wrong at the cut found, or at the best fit.
    pub exempt_differences: u64,
}

/// Where a recovered disk stands in the order of the guest's writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Verdict {
    /// The disk is a prefix of the log.
    Exact {
        /// From the first cut that fits to the last.
        cut: CutRange,
        /// All cuts that fit, ascending. More than one range when contents return to what they were.
        feasible: Vec<CutRange>,
        /// Writes in the log.
        of: u64,
    },
    /// Everything before a flush, and some whole writes of those between it and the next.
    EpochConsistent {
        /// The flush.
        barrier: Cut,
        /// Writes after it that can be on the disk; the largest number possible.
        included: u64,
        /// Writes between it and the next flush.
        of_epoch: u64,
        /// Writes in the log.
        of: u64,
    },
    /// One write is on the disk only in part; everything else fits.
    Torn {
        /// That write.
        write: Position,
        /// Its sectors that are there and differ from what was there before.
        new: u64,
        /// Its sectors that are not there.
        old: u64,
        /// Where the disk fits best.
        misfit: Misfit,
    },
    /// Every sector holds something it once held, but not all at one time.
    Reordered {
        /// A sector that is too old.
        stale: Option<SectorAt>,
        /// A sector that is too new. `None` when at the best fit all that differs is too old.
        ahead: Option<SectorAt>,
        /// The first write the two disagree on.
        disagree: Position,
        /// Where the disk fits best.
        misfit: Misfit,
    },
    /// A sector holds what it never held.
    Foreign {
        /// The last write of that sector in the log; `None` if it should equal the base.
        last_write: Option<Position>,
        /// Where the disk fits best; its sector is the first foreign one.
        misfit: Misfit,
    },
    /// The disk may stand after the end of what the log tells. Never a pass.
    Unknown {
        /// Why the log does not tell.
        cause: UnknownCause,
        /// What differs from the log's end.
        misfit: Misfit,
    },
}

/// Where a disk fits best, and how badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Misfit {
    /// The first offending sector.
    pub sector: u64,
    /// The cut with the fewest disagreeing sectors; of several the latest.
    pub best_fit: Cut,
    /// Writes in the log.
    pub of: u64,
    /// Sectors that are right at an earlier cut.
    pub stale: u64,
    /// Sectors that are right at a later cut.
    pub ahead: u64,
    /// Sectors that are right at no cut.
    pub foreign: u64,
}

/// A sector and the write that dates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectorAt {
    /// The sector.
    pub sector: u64,
    /// For a stale sector the first write it lacks, for one ahead the write it holds.
    pub write: Position,
}

impl SectorAt {
    pub(super) fn new(sector: u64, write: u64) -> Self {
        Self { sector, write: Position(write) }
    }
}

/// Why a log does not tell all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownCause {
    /// It breaks off in an entry, which covers all that differs.
    IncompleteEntry,
    /// Entries are missing at its end.
    LostEntries,
    /// Its writer was killed, and what differs is little enough to have been in flight.
    InFlight,
}

impl Verdict {
    /// Whether the disk is a prefix of the log.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Exact { .. })
    }

    /// The range of cuts, for an exact disk.
    #[must_use]
    pub fn cut(&self) -> Option<CutRange> {
        match self {
            Self::Exact { cut, .. } => Some(*cut),
            _ => None,
        }
    }

    /// The first sector objected to, unless the disk is exact or epoch-consistent.
    #[must_use]
    pub fn offending_sector(&self) -> Option<u64> {
        match self {
            Self::Exact { .. } | Self::EpochConsistent { .. } => None,
            Self::Torn { misfit, .. }
            | Self::Reordered { misfit, .. }
            | Self::Foreign { misfit, .. }
            | Self::Unknown { misfit, .. } => Some(misfit.sector),
        }
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(f)?;
        match self.exempt_differences {
            0 => Ok(()),
            1 => f.write_str(" (1 exempt sector differs)"),
            n => write!(f, " ({} exempt sectors differ)", Grouped(n)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact { cut, feasible, of } => exact(f, cut, feasible, *of),
            Self::EpochConsistent { barrier, included, of_epoch, of } => write!(
                f,
                "epoch-consistent: the first {barrier} of {} writes, flushed, and {} of the {} writes up to the \
                 next flush",
                Grouped(*of),
                Grouped(*included),
                Grouped(*of_epoch)
            ),
            Self::Torn { write, new, old, misfit } => write!(
                f,
                "torn: write {write} of {} is on the disk only in part, {} of its sectors are new and {} old, \
                 first at sector {}",
                Grouped(misfit.of),
                Grouped(*new),
                Grouped(*old),
                Grouped(misfit.sector)
            ),
            Self::Reordered { stale, ahead, disagree, misfit } => {
                reordered(f, *stale, *ahead, *disagree, misfit)
            }
            Self::Foreign { last_write, misfit } => foreign(f, *last_write, misfit),
            Self::Unknown { cause, misfit } => write!(
                f,
                "unknown: {} sectors from sector {} on differ from all {} writes logged, and {cause}",
                Grouped(misfit.differing()),
                Grouped(misfit.sector),
                Grouped(misfit.of)
            ),
        }
    }
}

fn exact(f: &mut fmt::Formatter<'_>, cut: &CutRange, feasible: &[CutRange], of: u64) -> fmt::Result {
    write!(f, "exact: the first {cut} of {} writes", Grouped(of))?;
    match feasible.len() {
        0 | 1 => Ok(()),
        n => write!(f, ", in {n} ranges that hold the same"),
    }
}

fn reordered(
    f: &mut fmt::Formatter<'_>,
    stale: Option<SectorAt>,
    ahead: Option<SectorAt>,
    disagree: Position,
    misfit: &Misfit,
) -> fmt::Result {
    write!(f, "reordered: ")?;
    if let Some(at) = stale {
        write!(f, "sector {} lacks write {}", Grouped(at.sector), at.write)?;
    }
    if let (Some(_), Some(_)) = (stale, ahead) {
        write!(f, " but ")?;
    }
    if let Some(at) = ahead {
        write!(f, "sector {} holds write {}", Grouped(at.sector), at.write)?;
    }
    write!(f, " of {}, first disagreement at write {disagree}; {misfit}", Grouped(misfit.of))
}

fn foreign(f: &mut fmt::Formatter<'_>, last_write: Option<Position>, misfit: &Misfit) -> fmt::Result {
    write!(f, "foreign content at sector {} (", Grouped(misfit.sector))?;
    match last_write {
        Some(write) => write!(f, "last written by entry {write} of {}", Grouped(misfit.of))?,
        None => write!(f, "never written, yet not as in the base")?,
    }
    write!(f, "); {misfit}")
}

impl Misfit {
    /// Sectors that are wrong at the best fit.
    #[must_use]
    pub fn differing(&self) -> u64 {
        self.stale + self.ahead + self.foreign
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stale, ahead, foreign) = (Grouped(self.stale), Grouped(self.ahead), Grouped(self.foreign));
        write!(f, "best fit {} with {stale} sectors stale, {ahead} ahead, {foreign} foreign", self.best_fit)
    }
}

impl fmt::Display for UnknownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IncompleteEntry => "the log breaks off in an entry that covers them",
            Self::LostEntries => "entries are missing at the end of the log",
            Self::InFlight => "they may have been in flight when the log's writer was killed",
        })
    }
}
