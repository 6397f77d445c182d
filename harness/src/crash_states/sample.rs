//! Chooses crash states.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use witness::random::Random;

use crate::oracle::{Cut, Position, WriteLog};

/// Largest number of writes of which all subsets may be tried.
const ALL_SUBSETS_OF: u64 = 6;
/// Attempts for each state, because two may be the same.
const ATTEMPTS: usize = 4;

/// A state in which a power loss may leave a disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashState {
    /// Flushes that had completed.
    pub flushes: u64,
    /// Writes that had completed.
    pub cut: Cut,
    /// Writes among them, all after the last flush, that the disk lost; ascending.
    pub lost: Vec<Position>,
}

impl fmt::Display for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.flushes, self.cut.0) {
            (_, 0) => write!(f, "before the first write")?,
            (0, _) => write!(f, "after write {}", self.cut)?,
            (flushes, _) => write!(f, "after flush {flushes} and write {}", self.cut)?,
        }
        if !self.lost.is_empty() {
            let lost: Vec<_> = self.lost.iter().map(ToString::to_string).collect();
            write!(f, " without write {}", lost.join(", "))?;
        }
        Ok(())
    }
}

/// A sample of at most `most` states between two boundaries, `epoch` being the cuts at them. Those
/// at the boundaries themselves are not among them. If there are few writes, the sample is all
/// their subsets.
pub(super) fn sample(
    log: &WriteLog,
    flushes: u64,
    epoch: &Range<u64>,
    most: usize,
    random: &mut Random,
) -> Vec<CrashState> {
    let writes = epoch.end - epoch.start;
    let whole = Cut(epoch.end);
    let state = |kept: &dyn Fn(u64) -> bool| completed(log, flushes, epoch, kept);
    let new = |state: &CrashState| state.cut.0 > epoch.start && (state.cut < whole || !state.lost.is_empty());
    let few = writes <= ALL_SUBSETS_OF && (1_u64 << writes) <= most as u64;
    if few {
        let all = (0..1_u64 << writes).map(|subset| state(&|write| subset >> (write - epoch.start) & 1 == 1));
        let all: BTreeSet<_> = all.filter(new).collect();
        return all.into_iter().collect();
    }
    let mut chosen = BTreeSet::new();
    for attempt in 0..most * ATTEMPTS {
        if chosen.len() == most {
            break;
        }
        let last = epoch.start + random.below(writes);
        let one = epoch.start + random.below(last - epoch.start + 1);
        let coins = random.next_u64();
        let next = match attempt % 3 {
            // One write is missing.
            0 => state(&|write| write <= last && write != one),
            // The last write overtook all others.
            1 => state(&|write| write == last),
            _ => state(&|write| write == last || (write < last && coins >> (write % 64) & 1 == 1)),
        };
        if new(&next) {
            chosen.insert(next);
        }
    }
    chosen.into_iter().collect()
}

/// The state that keeps a part of the writes of an epoch, numbered from 0 for the first write of
/// the log. What was completed before one of them with FUA stays as well.
fn completed(log: &WriteLog, flushes: u64, epoch: &Range<u64>, kept: &dyn Fn(u64) -> bool) -> CrashState {
    let cut = epoch.clone().rev().find(|write| kept(*write)).map_or(epoch.start, |last| last + 1);
    let fua = |write: u64| log.entry(Position(write + 1)).is_some_and(|entry| entry.is_fua());
    let lost = (epoch.start..cut).filter(|write| !kept(*write) && !fua(*write));
    CrashState { flushes, cut: Cut(cut), lost: lost.map(|write| Position(write + 1)).collect() }
}
