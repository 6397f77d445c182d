//! First pass over the disk: the cuts that it matches.

use std::ops::Range;

use super::epoch;
use super::pass::Sink;
use super::walk::Mismatch;
use super::{Cut, CutRange, WriteLog};

/// Counts disagreeing sectors, as differences from one cut to the next.
pub(super) struct Tally {
    pub delta: Vec<i64>,
    pub exempt_delta: Vec<i64>,
    /// Sectors that each write makes right.
    pub righted: Vec<u64>,
    /// Counts of sectors that are wrong throughout an epoch, as differences from one epoch to the
    /// next.
    pub dead_delta: Vec<i64>,
    pub epochs: Vec<Range<u64>>,
    /// The sector whose content is oldest, and the cut from which on it is wrong.
    pub stalest: Option<(u64, u64)>,
    /// The sector whose content is newest, and the cut before which it is wrong.
    pub newest: Option<(u64, u64)>,
    pub foreign: u64,
}

impl Tally {
    pub fn new(log: &WriteLog) -> Self {
        let cuts = log.len() as usize + 1;
        let epochs = epoch::epochs(log);
        Self {
            delta: vec![0; cuts + 1],
            exempt_delta: vec![0; cuts + 1],
            righted: vec![0; cuts],
            dead_delta: vec![0; epochs.len() + 1],
            epochs,
            stalest: None,
            newest: None,
            foreign: 0,
        }
    }

    fn last_cut(&self) -> u64 {
        self.delta.len() as u64 - 2
    }

    fn spoil_epochs(&mut self, cuts: &Range<u64>) {
        let first = self.epochs.partition_point(|epoch| epoch.start < cuts.start);
        let past = self.epochs.partition_point(|epoch| epoch.end < cuts.end);
        if first < past {
            self.dead_delta[first] += 1;
            self.dead_delta[past] -= 1;
        }
    }
}

impl Sink for Tally {
    fn mismatch(&mut self, Mismatch { sector, cuts, exempt }: Mismatch) {
        let delta = if exempt { &mut self.exempt_delta } else { &mut self.delta };
        delta[cuts.start as usize] += 1;
        delta[cuts.end as usize] -= 1;
        if exempt {
            return;
        }
        self.spoil_epochs(&cuts);
        let (from_base, to_end) = (cuts.start == 0, cuts.end > self.last_cut());
        if !to_end {
            self.righted[cuts.end as usize - 1] += 1;
        }
        match (from_base, to_end) {
            (true, true) => self.foreign += 1,
            (true, false) if self.newest.is_none_or(|(cut, s)| (cuts.end, s) > (cut, sector)) => {
                self.newest = Some((cuts.end, sector));
            }
            (false, true) if self.stalest.is_none_or(|(cut, s)| (cuts.start, sector) < (cut, s)) => {
                self.stalest = Some((cuts.start, sector));
            }
            _ => {}
        }
    }
}

/// Number of disagreeing sectors at each cut.
pub(super) struct Counts {
    pub wrong: Vec<u64>,
    pub exempt: Vec<u64>,
    pub feasible: Vec<CutRange>,
}

impl Counts {
    pub fn new(tally: &Tally) -> Self {
        let (wrong, exempt) = (sums(&tally.delta), sums(&tally.exempt_delta));
        let mut feasible: Vec<CutRange> = Vec::new();
        for cut in (0..wrong.len()).filter(|cut| wrong[*cut] == 0).map(|cut| Cut(cut as u64)) {
            match feasible.last_mut() {
                Some(last) if last.latest.0 + 1 == cut.0 => last.latest = cut,
                _ => feasible.push(CutRange::at(cut)),
            }
        }
        Self { wrong, exempt, feasible }
    }

    /// The cut with the fewest disagreeing sectors; the latest if there are several.
    pub fn best_fit(&self) -> Cut {
        let best = self.wrong.iter().enumerate().min_by_key(|(cut, wrong)| (**wrong, usize::MAX - cut));
        Cut(best.map_or(0, |(cut, _)| cut as u64))
    }

    pub fn wrong_at(&self, cut: Cut) -> u64 {
        self.wrong.get(cut.0 as usize).copied().unwrap_or(0)
    }

    pub fn exempt_at(&self, cut: Cut) -> u64 {
        self.exempt.get(cut.0 as usize).copied().unwrap_or(0)
    }
}

/// Running sums, without the entry past the end.
pub(super) fn sums(delta: &[i64]) -> Vec<u64> {
    let mut sum = 0i64;
    let all = delta.iter().map(|step| {
        sum += step;
        sum.unsigned_abs()
    });
    all.take(delta.len() - 1).collect()
}
