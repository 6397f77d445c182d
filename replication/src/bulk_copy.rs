//! Copies whole disks, with several windows in flight where the servers allow it.

use contract::{CoreError, ErrorCode};

use crate::sync::{AtomicU64, Ordering};
use crate::transfer::{Lane, REPORT_EVERY, Source, WINDOW, lanes_over, write};
use crate::windows::Windows;

/// How disks are copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether the copy is made durable.
    pub(crate) flushes: bool,
    /// Whether zeroes are written where the replica holds something else.
    pub(crate) clears: bool,
}

/// Makes the replicas of a machine's disks equal to the disks, all of them side by side. Returns
/// the number of bytes written.
///
/// Calls `progress` from time to time with the approximate number of bytes compared.
pub(crate) fn copy(
    disks: &[Source],
    manner: Manner,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, CoreError> {
    let mut first: Vec<Lane> = disks.iter().map(Lane::open).collect::<Result<_, _>>()?;
    let several = first.iter().try_fold(true, |all, lane| Ok::<_, CoreError>(all && lane.allows_more()?))?;
    let more = if several { lanes_over(disks.len()) - 1 } else { 0 };
    let beside = || first.iter().zip(disks).map(|(lane, disk)| lane.beside(disk)).collect();
    let others: Vec<Vec<Lane>> = (0..more).map(|_| beside()).collect::<Result<_, _>>()?;
    let work = Work::new(&first, manner.clears, progress);
    let shared = &work;
    std::thread::scope(|scope| {
        let spawn = |mut lanes: Vec<Lane>| scope.spawn(move || shared.run(&mut lanes));
        let others: Vec<_> = others.into_iter().map(spawn).collect();
        let mut done = shared.run(&mut first);
        for other in others {
            done = done.and(other.join().unwrap_or_else(|_| Err(panicked())));
        }
        done
    })?;
    if manner.flushes {
        first.iter_mut().try_for_each(Lane::flush)?;
    }
    Ok(work.windows.into_written())
}

/// What the threads share. Each has a lane for every disk.
struct Work<'a> {
    /// One step for each window of each disk.
    windows: Windows,
    sizes: Vec<u64>,
    clears: bool,
    compared: AtomicU64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Work<'a> {
    fn new(lanes: &[Lane], clears: bool, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        let sizes: Vec<_> = lanes.iter().map(Lane::size).collect();
        let most = sizes.iter().map(|size| size.div_ceil(WINDOW)).max().unwrap_or(0);
        let windows = Windows::new(most * sizes.len() as u64, 1);
        Self { windows, sizes, clears, compared: AtomicU64::new(0), progress }
    }

    /// Copies one window after another until none is left.
    fn run(&self, lanes: &mut [Lane]) -> Result<(), CoreError> {
        let disks = lanes.len() as u64;
        self.windows.copy_each(|step, _| {
            let (disk, offset) = ((step % disks) as usize, step / disks * WINDOW);
            match self.sizes[disk].saturating_sub(offset).min(WINDOW) {
                0 => Ok(0),
                length => self.copy_window(&mut lanes[disk], offset, length),
            }
        })
    }

    /// Copies a window and returns how many bytes were written.
    fn copy_window(&self, lane: &mut Lane, offset: u64, length: u64) -> Result<u64, CoreError> {
        let compared = self.compared.fetch_add(length, Ordering::Relaxed);
        if compared == 0 || compared / REPORT_EVERY != (compared + length) / REPORT_EVERY {
            (self.progress)(compared);
        }
        let mut bytes = 0;
        lane.compare(offset, length, &mut |replica, at, run| {
            if !self.clears && run.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            bytes += run.len() as u64;
            write(replica, at, run)
        })?;
        Ok(bytes)
    }
}

fn panicked() -> CoreError {
    CoreError::new(ErrorCode::Platform, "a copying thread panicked")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nbd::Export;

    use super::*;
    use crate::fault_hook::GRAIN;
    use crate::ram_disk::{Fault, RamDisk};

    const MIB: usize = 1 << 20;
    const MANNER: Manner = Manner { flushes: true, clears: true };

    /// Copies disks to targets, and returns what was reported as compared too.
    fn copied(disks: &[(Vec<u8>, Arc<RamDisk>)]) -> (Result<u64, CoreError>, Vec<u64>) {
        let reported = Mutex::new(Vec::new());
        let served = disks.iter().map(|(ours, target)| {
            let source = nbd::serve("ours", RamDisk::new(ours.clone()).shared());
            (source, nbd::serve("theirs", Arc::clone(target) as Arc<dyn Export>))
        });
        let served: Vec<_> = served.collect();
        let source = |(source, replica): &(nbd::Served, nbd::Served)| Source {
            uri: source.uri(),
            changed: None,
            against: replica.uri(),
            grain: GRAIN,
        };
        let sources: Vec<_> = served.iter().map(source).collect();
        let done = copy(&sources, MANNER, &|compared| reported.lock().unwrap().push(compared));
        (done, reported.into_inner().unwrap())
    }

    /// A disk of 64 KiB grains that differ from their neighbours; the first and each fifth are
    /// zeroes.
    fn disk(mebibytes: usize) -> Vec<u8> {
        let grain = |index: usize| vec![(index % 5 * (1 + index % 50)) as u8; 64 * 1024];
        (0..mebibytes * 16 + 3).flat_map(grain).collect()
    }

    #[test]
    fn several_lanes_make_the_replica_equal_and_write_only_differences() {
        let ours = disk(21);
        let mut theirs = ours.clone();
        theirs[3 * MIB..9 * MIB].fill(0xee);
        for several in [true, false] {
            let target = RamDisk::new(theirs.clone()).several(several).shared();
            let pair = [(ours.clone(), Arc::clone(&target))];
            assert_eq!(copied(&pair).0.unwrap(), 6 * MIB as u64);
            assert!(target.content() == ours);
            assert_eq!(copied(&pair).0.unwrap(), 0);
        }
    }

    #[test]
    fn disks_of_different_sizes_are_copied_side_by_side_and_progress_covers_all() {
        let disks = [disk(40), disk(3), disk(130)];
        let all: Vec<_> =
            disks.iter().map(|ours| (ours.clone(), RamDisk::new(vec![0x77; ours.len()]).shared())).collect();
        let (done, reported) = copied(&all);
        let sum: usize = disks.iter().map(Vec::len).sum();
        assert_eq!(done.unwrap(), sum as u64);
        assert!(all.iter().all(|(ours, target)| target.content() == *ours));
        assert!(
            reported.contains(&0) && reported.iter().all(|compared| *compared < sum as u64),
            "{reported:?}"
        );
        assert_eq!(reported.len() as u64, 1 + sum as u64 / REPORT_EVERY, "{reported:?}");
    }

    #[test]
    fn a_failed_lane_or_flush_fails_the_copy_and_names_what_failed() {
        let faults =
            [(Fault::WritesFrom(15 * MIB as u64), "no room"), (Fault::Flushes, "the cache is broken")];
        for (fault, words) in faults {
            let target = RamDisk::new(vec![0xee; disk(21).len()]).fault(Some(fault)).shared();
            let error = copied(&[(disk(21), target)]).0.unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }
}
