//! Second pass over the disk: the sectors that are wrong at one cut.

use std::ops::Range;

use super::pass::{self, Sink};
use super::verdict::{Misfit, SectorAt};
use super::walk::{Mismatch, Walk};
use super::{Cut, OracleError};

/// Counts and classifies the sectors that are wrong at one cut.
pub(super) struct Probe {
    pub at: Cut,
    pub cuts: u64,
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub first_foreign: Option<u64>,
    pub stalest: Option<(u64, u64)>,
    pub newest: Option<(u64, u64)>,
    pub stale: u64,
    pub ahead: u64,
    pub foreign: u64,
}

impl Probe {
    pub fn new(at: Cut, cuts: u64) -> Self {
        let (first, last, first_foreign, stalest, newest) = (None, None, None, None, None);
        Self { at, cuts, first, last, first_foreign, stalest, newest, stale: 0, ahead: 0, foreign: 0 }
    }

    pub fn all_within(&self, range: &Range<u64>) -> bool {
        self.first.is_none_or(|s| range.contains(&s)) && self.last.is_none_or(|s| range.contains(&s))
    }

    pub fn misfit(&self, of: u64) -> Misfit {
        Misfit {
            sector: self.first.unwrap_or(0),
            best_fit: self.at,
            of,
            stale: self.stale,
            ahead: self.ahead,
            foreign: self.foreign,
        }
    }

    pub fn stalest(&self) -> Option<SectorAt> {
        self.stalest.map(|(write, sector)| SectorAt::new(sector, write))
    }

    pub fn newest(&self) -> Option<SectorAt> {
        self.newest.map(|(write, sector)| SectorAt::new(sector, write))
    }

    /// Classifies a wrong sector as stale, ahead or foreign, by the nearest cut at which it is
    /// right.
    fn place(&mut self, sector: u64, cuts: &Range<u64>) {
        let behind = (cuts.start > 0).then(|| self.at.0 - (cuts.start - 1));
        let before = (cuts.end < self.cuts).then(|| cuts.end - self.at.0);
        match (behind, before) {
            (None, None) => {
                self.foreign += 1;
                self.first_foreign = Some(self.first_foreign.map_or(sector, |s| s.min(sector)));
            }
            (Some(behind), before) if before.is_none_or(|before| behind <= before) => {
                self.stale += 1;
                let this = (cuts.start, sector);
                self.stalest = Some(self.stalest.map_or(this, |old| old.min(this)));
            }
            _ => {
                self.ahead += 1;
                let this = (cuts.end, sector);
                self.newest = Some(self.newest.map_or(this, |old| old.max(this)));
            }
        }
    }
}

impl Sink for Probe {
    fn mismatch(&mut self, Mismatch { sector, cuts, exempt }: Mismatch) {
        if exempt || !cuts.contains(&self.at.0) {
            return;
        }
        self.first = Some(self.first.map_or(sector, |s| s.min(sector)));
        self.last = Some(self.last.map_or(sector, |s| s.max(sector)));
        self.place(sector, &cuts);
    }
}

/// Collects the sectors that are wrong at one cut.
pub(super) struct WrongAt {
    pub at: Cut,
    pub sectors: Vec<u64>,
}

impl WrongAt {
    pub fn collect(walk: &Walk<'_>, at: Cut) -> Result<Vec<u64>, OracleError> {
        let mut wrong = Self { at, sectors: Vec::new() };
        pass::run(walk, &mut wrong)?;
        Ok(wrong.sectors)
    }
}

impl Sink for WrongAt {
    fn mismatch(&mut self, mismatch: Mismatch) {
        if !mismatch.exempt && mismatch.cuts.contains(&self.at.0) {
            self.sectors.push(mismatch.sector);
        }
    }
}
