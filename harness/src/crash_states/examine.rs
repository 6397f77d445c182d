//! Goes through the states of one log.

use std::ops::Range;
use std::path::Path;

use witness::ledger::RecordNumber;
use witness::random::Random;

use super::CrashState;
use super::blame::{Culprit, culprit};
use super::image::StateImage;
use super::inspect::Inspector;
use super::sample::sample;
use super::walk::Walk;
use crate::oracle::{Cut, RawSource, SectorSource as _, WriteLog};
use crate::recovered::{CheckError, Damage, DiskCopies, DiskLayout};

/// A write log whose states are examined.
#[derive(Debug)]
pub struct LogUnderTest<'a> {
    /// What the disk holds.
    pub layout: DiskLayout,
    /// What it held before the log began, raw.
    pub base: &'a Path,
    /// Every write since then.
    pub log: &'a WriteLog,
    /// The last record of the machine's ledger before the log began; 0 if none.
    pub initial_record: RecordNumber,
}

/// How many states between two flushes are examined.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Most states between two flushes.
    pub most: usize,
    /// The choice follows from it.
    pub seed: u64,
}

/// What was found about the states of one log.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// States at which a flush had completed and nothing after it was kept, and the ends of the
    /// log.
    pub boundaries: u64,
    /// States with a part of the writes between two flushes.
    pub sampled: u64,
    /// The states that are not sound, in the order of the log.
    pub bad: Vec<BadState>,
}

/// A crash state that is not sound.
#[derive(Clone, Debug)]
pub struct BadState {
    /// The state.
    pub state: CrashState,
    /// What is wrong.
    pub damage: Damage,
    /// The write that makes the difference; only of the first bad state of a log.
    pub culprit: Option<Culprit>,
}

/// Builds the crash states of a log one after the other and checks each.
///
/// # Errors
/// The log or the base cannot be read, or this host cannot check them.
pub fn examine(test: &LogUnderTest<'_>, sampling: Sampling) -> Result<Examination, CheckError> {
    let base = RawSource::open(test.base).map_err(|error| CheckError::Suite(error.to_string()))?;
    let copies = DiskCopies::new(2 * base.bytes())?;
    let image = copies.copy("state", &base, &test.layout.file_system)?;
    let image = StateImage::open(image, test.layout.file_system.clone())?;
    let inspector = Inspector::new(&copies, test.layout.clone(), test.log, test.initial_record)?;
    let mut walk = Walk { log: test.log, image, inspector, transfers: None };
    let mut found = Examination::default();
    found.boundary(&mut walk, &(0..0), 0)?;
    let mut random = Random::new(sampling.seed);
    let last = test.log.barriers().len() as u64;
    for (flushes, epoch) in epochs(test.log) {
        for state in sample(test.log, flushes, &epoch, sampling.most, &mut random) {
            found.part_of(&mut walk, &epoch, state)?;
        }
        found.boundary(&mut walk, &epoch, (flushes + 1).min(last))?;
    }
    Ok(found)
}

/// The writes between two flushes, numbered from 0, with the number of flushes before them. The
/// last ones have no flush after them.
fn epochs(log: &WriteLog) -> Vec<(u64, Range<u64>)> {
    let starts = std::iter::once(0).chain(log.barriers().iter().map(|cut| cut.0));
    let ends = log.barriers().iter().map(|cut| cut.0).chain(std::iter::once(log.len()));
    let all = (0..).zip(starts.zip(ends).map(|(start, end)| start..end));
    // A flush before the first write and a log that ends with a flush leave nothing between.
    all.filter(|(_, epoch)| epoch.start < epoch.end).collect()
}

impl Examination {
    /// Checks the state after all writes of an epoch, and keeps them.
    fn boundary(&mut self, walk: &mut Walk<'_>, epoch: &Range<u64>, flushes: u64) -> Result<(), CheckError> {
        let state = CrashState { flushes, cut: Cut(epoch.end), lost: Vec::new() };
        self.boundaries += 1;
        let inspection = walk.inspect(epoch, &state)?;
        if let Some(damage) = inspection.damage {
            self.record(walk, epoch, state.clone(), damage)?;
        }
        walk.advance(epoch, &state)?;
        walk.transfers = inspection.transfers.or(walk.transfers);
        Ok(())
    }

    /// Checks a state between two flushes.
    fn part_of(
        &mut self,
        walk: &mut Walk<'_>,
        epoch: &Range<u64>,
        state: CrashState,
    ) -> Result<(), CheckError> {
        self.sampled += 1;
        if let Some(damage) = walk.inspect(epoch, &state)?.damage {
            self.record(walk, epoch, state, damage)?;
        }
        Ok(())
    }

    fn record(
        &mut self,
        walk: &mut Walk<'_>,
        epoch: &Range<u64>,
        state: CrashState,
        damage: Damage,
    ) -> Result<(), CheckError> {
        let culprit = if self.bad.is_empty() { culprit(walk, epoch, &state)? } else { None };
        self.bad.push(BadState { state, damage, culprit });
        Ok(())
    }
}
