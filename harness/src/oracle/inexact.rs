//! Classifies a disk that matches no cut.

use std::ops::Range;

use super::options::Options;
use super::pass;
use super::probe::{Probe, WrongAt};
use super::tally::{Counts, Tally, sums};
use super::verdict::{Misfit, SectorAt, UnknownCause, Verdict};
use super::walk::Walk;
use super::{Cut, LogEnd, OracleError, Position, SECTOR_BYTES, WriteLog, epoch};

/// The data from which a disk that matches no cut is classified.
pub(super) struct Inexact<'a> {
    pub walk: &'a Walk<'a>,
    pub log: &'a WriteLog,
    pub options: &'a Options,
    pub tally: &'a Tally,
    pub counts: &'a Counts,
}

impl Inexact<'_> {
    /// The verdict, and the cut at which differences are counted.
    pub fn verdict(&self) -> Result<(Verdict, Cut), OracleError> {
        let best = self.counts.best_fit();
        if let Some(verdict) = self.unknown()? {
            return Ok((verdict, self.end()));
        }
        if self.tally.foreign > 0 {
            return Ok((self.foreign(best)?, best));
        }
        if let Some((verdict, cut)) = self.epoch_consistent()? {
            return Ok((verdict, cut));
        }
        if let Some((write, at)) = self.torn_write() {
            let (new, old) = (self.counts.wrong_at(Cut(write.0 - 1)), self.counts.wrong_at(write.cut()));
            return Ok((Verdict::Torn { write, new, old, misfit: self.misfit(at)? }, at));
        }
        Ok((self.reordered(best)?, best))
    }

    fn end(&self) -> Cut {
        Cut(self.log.len())
    }

    fn probe(&self, at: Cut) -> Result<Probe, OracleError> {
        let mut probe = Probe::new(at, self.walk.cuts());
        pass::run(self.walk, &mut probe)?;
        Ok(probe)
    }

    fn misfit(&self, at: Cut) -> Result<Misfit, OracleError> {
        Ok(self.probe(at)?.misfit(self.log.len()))
    }

    /// Whether writes that the log does not contain completely may explain all differences from its
    /// end.
    fn unknown(&self) -> Result<Option<Verdict>, OracleError> {
        let wrong = self.counts.wrong_at(self.end());
        let Some((cause, within)) = self.possible_cause(wrong) else { return Ok(None) };
        let probe = self.probe(self.end())?;
        if within.is_some_and(|range| !probe.all_within(&range)) {
            return Ok(None);
        }
        let misfit = probe.misfit(self.log.len());
        let sector = probe.first_foreign.unwrap_or(misfit.sector);
        Ok(Some(Verdict::Unknown { cause, misfit: Misfit { sector, ..misfit } }))
    }

    /// Why `wrong` sectors may be newer than the log, and the range in which those sectors must
    /// lie.
    fn possible_cause(&self, wrong: u64) -> Option<(UnknownCause, Option<Range<u64>>)> {
        if let LogEnd::PartialData { sector, sectors, .. } = self.log.end()
            && wrong <= sectors
        {
            return Some((UnknownCause::IncompleteEntry, Some(sector..sector.saturating_add(sectors))));
        }
        // If the lost writes are unknown, they can explain new content near the end of the log, but
        // not a disk that is old elsewhere.
        if self.tally.foreign == 0 || wrong > self.counts.wrong_at(self.counts.best_fit()) {
            return None;
        }
        let lost = match self.log.end() {
            LogEnd::Gap { lost, .. } => wrong <= lost / SECTOR_BYTES,
            LogEnd::MissingEntries { .. } | LogEnd::PartialHeader { .. } => true,
            LogEnd::Complete | LogEnd::PartialData { .. } => false,
        };
        let in_flight = || wrong <= self.options.in_flight_sectors;
        let cause = if lost { Some(UnknownCause::LostEntries) } else { None };
        cause.or_else(|| in_flight().then_some(UnknownCause::InFlight)).map(|cause| (cause, None))
    }

    fn foreign(&self, best: Cut) -> Result<Verdict, OracleError> {
        let probe = self.probe(best)?;
        let misfit = probe.misfit(self.log.len());
        let sector = probe.first_foreign.unwrap_or(misfit.sector);
        let last_write = self.log.last_write_of(sector, self.end());
        Ok(Verdict::Foreign { last_write, misfit: Misfit { sector, ..misfit } })
    }

    /// Finds the latest epoch of which the disk holds some whole writes, on top of everything
    /// before it.
    fn epoch_consistent(&self) -> Result<Option<(Verdict, Cut)>, OracleError> {
        let dead = sums(&self.tally.dead_delta);
        let alive = self.tally.epochs.iter().zip(dead).rev().filter(|(_, dead)| *dead == 0);
        for (range, _) in alive {
            let wrong = WrongAt::collect(self.walk, Cut(range.start))?;
            if let Some(lost) = epoch::writes_lost(self.walk, range, &wrong)? {
                let (barrier, end) = (Cut(range.start), Cut(range.end));
                let of = self.log.len();
                return Ok(Some((Verdict::EpochConsistent { barrier, end, lost, of }, barrier)));
            }
        }
        Ok(None)
    }

    /// Finds a write such that every sector matches before or after it, and the better of the two
    /// cuts.
    fn torn_write(&self) -> Option<(Position, Cut)> {
        let wrong = &self.counts.wrong;
        let torn = (0..wrong.len().saturating_sub(1)).find(|i| wrong[*i] == self.tally.righted[*i])?;
        let best = if wrong[torn + 1] <= wrong[torn] { torn + 1 } else { torn };
        Some((Position(torn as u64 + 1), Cut(best as u64)))
    }

    fn reordered(&self, best: Cut) -> Result<Verdict, OracleError> {
        let probe = self.probe(best)?;
        let misfit = probe.misfit(self.log.len());
        let (stale, ahead) = match (self.tally.stalest, self.tally.newest) {
            // These two alone contradict each other at every cut.
            (Some((lacks, stale)), Some((has, ahead))) if lacks <= has => {
                (Some(SectorAt::new(stale, lacks)), Some(SectorAt::new(ahead, has)))
            }
            _ => (probe.stalest(), probe.newest()),
        };
        let disagree = stale.or(ahead).map_or(Position(best.0), |at| at.write);
        let sector = stale.or(ahead).map_or(misfit.sector, |at| at.sector);
        Ok(Verdict::Reordered { stale, ahead, disagree, misfit: Misfit { sector, ..misfit } })
    }
}
