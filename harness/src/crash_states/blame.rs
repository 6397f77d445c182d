//! Finds the write that makes a state bad.

use std::ops::Range;

use super::CrashState;
use super::walk::Walk;
use crate::oracle::{Cut, Position, WriteLog};
use crate::recovered::CheckError;

/// The write that makes a state bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// Its number in the log.
    pub position: Position,
    /// Its first sector on the disk.
    pub sector: u64,
    /// Sectors that it wrote.
    pub sectors: u64,
    /// Whether it is missing, or is there.
    pub missing: bool,
}

impl Culprit {
    fn new(log: &WriteLog, position: Position, missing: bool) -> Option<Self> {
        let entry = log.entry(position)?;
        Some(Self { position, sector: entry.sector, sectors: entry.sectors, missing })
    }
}

impl std::fmt::Display for Culprit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (missing, how) = (self.missing, if self.missing { "is missing" } else { "is there" });
        let also = if missing { "although a later one is there" } else { "and everything before it" };
        write!(
            f,
            "write {} at sector {} ({} sectors) {how}, {also}",
            self.position, self.sector, self.sectors
        )
    }
}

/// The write without which, or with which, a bad state is not bad.
pub(super) fn culprit(
    walk: &mut Walk<'_>,
    epoch: &Range<u64>,
    state: &CrashState,
) -> Result<Option<Culprit>, CheckError> {
    let needed = needed_losses(walk, epoch, state)?;
    if let Some(lost) = needed.first() {
        return Ok(Culprit::new(walk.log, *lost, true));
    }
    first_bad_write(walk, epoch, state)
}

/// Of the writes that were lost, those without whose loss the state is sound: each is given back in
/// turn, for good if the state stays bad.
fn needed_losses(
    walk: &mut Walk<'_>,
    epoch: &Range<u64>,
    state: &CrashState,
) -> Result<Vec<Position>, CheckError> {
    let mut needed = state.clone();
    for position in &state.lost {
        let lost = needed.lost.iter().copied().filter(|other| other != position).collect();
        let less = CrashState { lost, ..needed.clone() };
        if walk.inspect(epoch, &less)?.damage.is_some() {
            needed = less;
        }
    }
    Ok(needed.lost)
}

/// The first write after which the state is bad, if nothing is lost. `None`: it was bad before.
fn first_bad_write(
    walk: &mut Walk<'_>,
    epoch: &Range<u64>,
    state: &CrashState,
) -> Result<Option<Culprit>, CheckError> {
    for cut in epoch.start..=state.cut.0 {
        let prefix = CrashState { cut: Cut(cut), lost: Vec::new(), ..state.clone() };
        if walk.inspect(epoch, &prefix)?.damage.is_some() {
            return Ok(if cut == 0 { None } else { Culprit::new(walk.log, Position(cut), false) });
        }
    }
    Ok(None)
}
