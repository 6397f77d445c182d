//! Copies a whole disk, with several windows in flight where the servers allow it.

use contract::{CoreError, ErrorCode};

use crate::transfer::{Lane, REPORT_EVERY, Source, WINDOW, write};
use crate::windows::Windows;

/// Number of windows in flight, each with its own connections: enough to keep both servers busy.
const LANES: usize = 8;

/// How a disk is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether the copy is made durable.
    pub(crate) flushes: bool,
    /// Whether zeroes are written where the replica holds something else.
    pub(crate) clears: bool,
}

/// Makes the replica equal to the disk. Returns the number of bytes written.
///
/// Calls `progress` from time to time with the approximate number of bytes compared.
pub(crate) fn copy(
    source: &Source,
    manner: Manner,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, CoreError> {
    let mut first = Lane::open(source)?;
    let more = if first.allows_more()? { LANES - 1 } else { 0 };
    let others: Result<Vec<_>, _> = (0..more).map(|_| first.beside(source)).collect();
    let work = Work { windows: Windows::new(first.size(), WINDOW), clears: manner.clears, progress };
    let shared = &work;
    std::thread::scope(|scope| {
        let spawn = |mut lane: Lane| scope.spawn(move || shared.run(&mut lane));
        let others: Vec<_> = others?.into_iter().map(spawn).collect();
        let mut done = shared.run(&mut first);
        for other in others {
            done = done.and(other.join().unwrap_or_else(|_| Err(panicked())));
        }
        done
    })?;
    if manner.flushes {
        first.flush()?;
    }
    Ok(work.windows.into_written())
}

/// What the lanes share.
struct Work<'a> {
    windows: Windows,
    clears: bool,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Work<'_> {
    /// Copies one window after another until none is left.
    fn run(&self, lane: &mut Lane) -> Result<(), CoreError> {
        self.windows.copy_each(|offset, length| self.copy_window(lane, offset, length))
    }

    /// Copies a window and returns how many bytes were written.
    fn copy_window(&self, lane: &mut Lane, offset: u64, length: u64) -> Result<u64, CoreError> {
        if offset.is_multiple_of(REPORT_EVERY) {
            (self.progress)(offset);
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

    use crate::fault_hook::GRAIN;
    use nbd::errno;
    use nbd::{ALLOCATION, Export, Extent, Refusal};

    use super::*;

    const MIB: usize = 1 << 20;

    /// A disk in memory that allows several connections. It refuses writes beyond a given byte.
    struct Ram {
        bytes: Mutex<Vec<u8>>,
        refuses_from: u64,
    }

    impl Ram {
        fn new(bytes: Vec<u8>, refuses_from: u64) -> Arc<Self> {
            Arc::new(Self { bytes: Mutex::new(bytes), refuses_from })
        }
    }

    impl Export for Ram {
        fn size(&self) -> u64 {
            self.bytes.lock().unwrap().len() as u64
        }

        fn can_multi_conn(&self) -> bool {
            true
        }

        fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
            let at = offset as usize;
            buffer.copy_from_slice(&self.bytes.lock().unwrap()[at..at + buffer.len()]);
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
            if offset + data.len() as u64 > self.refuses_from {
                return Err(Refusal::new("no room", errno::ENOSPC));
            }
            let at = offset as usize;
            self.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
            Ok(())
        }

        fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal> {
            self.write(offset, &vec![0; length as usize])
        }

        fn flush(&self) -> Result<(), Refusal> {
            Ok(())
        }

        fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
            let all = Extent { offset: 0, length: self.size(), flags: 0 };
            Ok((context == ALLOCATION).then(|| vec![all]))
        }
    }

    fn copied(ours: &[u8], target: &Arc<Ram>) -> Result<u64, CoreError> {
        let source = nbd::serve("ours", Ram::new(ours.to_vec(), 0));
        let replica = nbd::serve("theirs", Arc::clone(target) as Arc<dyn Export>);
        copy(
            &Source { uri: source.uri(), changed: None, against: replica.uri(), grain: GRAIN },
            Manner { flushes: true, clears: true },
            &|_| (),
        )
    }

    /// A disk of 64 KiB grains that differ from their neighbours; the first and each fifth are
    /// zeroes.
    fn disk() -> Vec<u8> {
        let grain = |index: usize| vec![(index % 5 * (1 + index % 50)) as u8; 64 * 1024];
        (0..21 * 16 + 3).flat_map(grain).collect()
    }

    #[test]
    fn several_lanes_make_the_replica_equal_and_write_only_differences() {
        let ours = disk();
        let mut theirs = ours.clone();
        theirs[3 * MIB..9 * MIB].fill(0xee);
        let target = Ram::new(theirs, u64::MAX);
        assert_eq!(copied(&ours, &target).unwrap(), 6 * MIB as u64);
        assert!(*target.bytes.lock().unwrap() == ours);
        assert_eq!(copied(&ours, &target).unwrap(), 0);
    }

    #[test]
    fn a_failed_lane_fails_the_copy() {
        let target = Ram::new(vec![0xee; disk().len()], 15 * MIB as u64);
        let error = copied(&disk(), &target).unwrap_err();
        assert!(error.message.contains("no room"), "{error}");
    }
}
