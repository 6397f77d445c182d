//! The oracle's verdicts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::cut::Grouped;
use super::{Cut, CutRange, Position};

/// A verdict, and how much was compared to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judgement {
    /// Where the disk stands in the write order.
    pub verdict: Verdict,
    /// Distinct sectors the log writes or discards, without exempt ones.
    pub sectors_written: u64,
    /// Sectors of the recovered disk that were compared, without exempt ones.
    pub sectors_compared: u64,
    /// Bytes of the recovered disk that were compared, without exempt sectors; never 0.
    pub bytes_compared: u64,
    /// Exempt sectors that are wrong at the cut found, or at the best fit.
    pub exempt_differences: u64,
}

/// The position of a recovered disk in the order of the guest's writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Verdict {
    /// The disk is a prefix of the log.
    Exact {
        /// From the first cut that fits to the last.
        cut: CutRange,
        /// All cuts that match, ascending. There is more than one range when content changes and
        /// changes back.
        feasible: Vec<CutRange>,
        /// Writes in the log.
        of: u64,
    },
    /// The disk holds everything before a flush, and some whole writes between it and the next
    /// flush.
    EpochConsistent {
        /// The flush.
        barrier: Cut,
        /// The next flush.
        end: Cut,
        /// The writes between the two that the disk lacks; as few as possible.
        lost: Vec<Position>,
        /// Writes in the log.
        of: u64,
    },
    /// One write is on the disk only in part; everything else matches.
    Torn {
        /// That write.
        write: Position,
        /// Number of its sectors that are on the disk and changed by it.
        new: u64,
        /// Number of its sectors that are not on the disk.
        old: u64,
        /// The best matching cut.
        misfit: Misfit,
    },
    /// Every sector holds a version that it had at some time, but not all at the same time.
    Reordered {
        /// A sector that is too old.
        stale: Option<SectorAt>,
        /// A sector that is too new. `None` when at the best fit every difference is too old.
        ahead: Option<SectorAt>,
        /// The first write on which the two disagree.
        disagree: Position,
        /// The best matching cut.
        misfit: Misfit,
    },
    /// A sector holds content that it never had.
    Foreign {
        /// The last write of that sector in the log; `None` if it should equal the base.
        last_write: Option<Position>,
        /// The best matching cut; its sector is the first foreign one.
        misfit: Misfit,
    },
    /// The disk may be newer than the end of the log. Never a pass.
    Unknown {
        /// Why the log is incomplete.
        cause: UnknownCause,
        /// Differences from the end of the log.
        misfit: Misfit,
    },
}

/// The cut that a disk matches best, and the differences there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Misfit {
    /// The first differing sector.
    pub sector: u64,
    /// The cut with the fewest disagreeing sectors; the latest if there are several.
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
    /// For a stale sector the first write that is missing, for one ahead the write that it holds.
    pub write: Position,
}

impl SectorAt {
    pub(super) fn new(sector: u64, write: u64) -> Self {
        Self { sector, write: Position(write) }
    }
}

/// Why a log is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownCause {
    /// It ends inside an entry, which covers all differences.
    IncompleteEntry,
    /// Entries are missing at its end.
    LostEntries,
    /// Its writer was killed, and the differences are few enough to have been in flight.
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

    /// The state that the disk holds, if it is one that power loss can leave: the cuts up to which
    /// it holds the writes, less those that are lost.
    #[must_use]
    pub fn state(&self) -> Option<(CutRange, &[Position])> {
        match self {
            Self::Exact { cut, .. } => Some((*cut, &[])),
            Self::EpochConsistent { end, lost, .. } => Some((CutRange::at(*end), lost)),
            _ => None,
        }
    }

    /// The first sector reported, unless the disk is exact or epoch-consistent.
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
            Self::EpochConsistent { barrier, end, lost, of } => write!(
                f,
                "epoch-consistent: the first {barrier} of {} writes, flushed, and {} of the {} writes up to the \
                 next flush",
                Grouped(*of),
                Grouped(end.0 - barrier.0 - lost.len() as u64),
                Grouped(end.0 - barrier.0)
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
        n => write!(f, ", in {n} ranges of identical content"),
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
        None => write!(f, "never written, but different from the base")?,
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
            Self::IncompleteEntry => "the log ends inside an entry that covers them",
            Self::LostEntries => "entries are missing at the end of the log",
            Self::InFlight => "they may have been in flight when the log's writer was killed",
        })
    }
}
