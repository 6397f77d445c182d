//! Epoch consistency: between two flushes a disk may keep any of the writes it was given and lose
//! the others.

use std::collections::HashSet;
use std::ops::Range;

use super::options::DiscardReads;
use super::walk::Walk;
use super::window::is_zero;
use super::{Entry, OracleError, Position, SECTOR, SECTOR_BYTES, WriteLog};

/// The cuts from each flush to the next, both included; the first range starts at the base, the
/// last one ends at the end of the log.
pub(super) fn epochs(log: &WriteLog) -> Vec<Range<u64>> {
    let bounds = std::iter::once(0).chain(log.barriers().iter().map(|cut| cut.0));
    let next = log.barriers().iter().map(|cut| cut.0).chain(std::iter::once(log.len()));
    bounds.zip(next).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect()
}

/// The writes of `epoch` outside the largest set of them that, applied after all earlier writes,
/// yields the recovered disk; `wrong` are the sectors that differ at the start of the epoch.
/// `None`: there is no such set.
///
/// Going backwards, it is always right to include a write whose unsettled sectors all match: it
/// settles them and hides what earlier writes put there. A write with an unsettled sector that does
/// not match cannot be included.
pub(super) fn writes_lost(
    walk: &Walk<'_>,
    epoch: &Range<u64>,
    wrong: &[u64],
) -> Result<Option<Vec<Position>>, OracleError> {
    let mut settled = HashSet::new();
    let mut lost = Vec::new();
    for index in epoch.clone().rev() {
        if !settle(walk, &walk.log.entries()[index as usize], &mut settled)? {
            lost.push(Position(index + 1));
        }
    }
    lost.reverse();
    Ok(wrong.iter().all(|sector| settled.contains(sector)).then_some(lost))
}

/// Includes `entry` in the set if it matches.
fn settle(walk: &Walk<'_>, entry: &Entry, settled: &mut HashSet<u64>) -> Result<bool, OracleError> {
    let sectors = entry.sector..entry.range().end.min(walk.disk_sectors);
    let len = (sectors.end - sectors.start) as usize * SECTOR;
    let (mut written, mut found) = (vec![0; len], vec![0; len]);
    walk.log.read_data(entry, 0, &mut written)?;
    let offset = sectors.start * SECTOR_BYTES;
    let failed = |source| OracleError::Read { disk: "recovered", offset, source };
    walk.recovered.read_at(offset, &mut found).map_err(failed)?;

    let pairs = sectors.zip(written.chunks(SECTOR).zip(found.chunks(SECTOR)));
    let mut open = pairs.filter(|(sector, _)| !settled.contains(sector) && !walk.is_exempt(*sector));
    if entry.is_discard() && walk.discards != DiscardReads::Zero {
        // A discard may leave any sector unchanged, so it can always be included.
        let may_zero = walk.discards == DiscardReads::OldOrZero;
        let zeroed: Vec<u64> = open.filter(|(_, (_, b))| may_zero && is_zero(b)).map(|(s, _)| s).collect();
        settled.extend(zeroed);
        return Ok(true);
    }
    let fitting: Option<Vec<u64>> = open.try_fold(Vec::new(), |mut all, (sector, (written, found))| {
        all.push(sector);
        (written == found).then_some(all)
    });
    let fits = fitting.is_some();
    settled.extend(fitting.unwrap_or_default());
    Ok(fits)
}
