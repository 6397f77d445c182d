//! A whole disk, copied: several windows are under way at once where the servers allow it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use contract::{CoreError, ErrorCode};

use crate::processor::write;
use crate::transfer::{Lane, REPORT_EVERY, Source, WINDOW};

/// Windows under way at once, each on connections of its own: enough that both servers always have one to work on.
const LANES: usize = 8;

/// Writes whatever the replica lacks into it, durably. Returns the bytes that travelled.
///
/// `gone_through` hears about where on the disk the work is, now and then.
pub(crate) fn fill(source: &Source, gone_through: &(dyn Fn(u64) + Sync)) -> Result<u64, CoreError> {
    let mut first = Lane::open(&source.uri, &source.against)?;
    let more = if first.allows_more()? { LANES - 1 } else { 0 };
    let others: Result<Vec<_>, _> = (0..more).map(|_| first.beside(&source.uri, &source.against)).collect();
    let work = Work {
        size: first.size(),
        next: AtomicU64::new(0),
        written: AtomicU64::new(0),
        failed: AtomicBool::new(false),
        gone_through,
    };
    let shared = &work;
    std::thread::scope(|scope| {
        let spawn = |mut lane: Lane| scope.spawn(move || shared.run(&mut lane));
        let others: Vec<_> = others?.into_iter().map(spawn).collect();
        let mut done = shared.run(&mut first);
        for other in others {
            done = done.and(other.join().unwrap_or_else(|_| Err(broke())));
        }
        done
    })?;
    first.flush()?;
    Ok(work.written.into_inner())
}

/// What lanes share.
struct Work<'a> {
    size: u64,
    /// Where the next window begins.
    next: AtomicU64,
    written: AtomicU64,
    /// One lane failed; the others need not go on.
    failed: AtomicBool,
    gone_through: &'a (dyn Fn(u64) + Sync),
}

impl Work<'_> {
    /// Takes one window after another until none is left.
    fn run(&self, lane: &mut Lane) -> Result<(), CoreError> {
        while !self.failed.load(Ordering::Relaxed) {
            let offset = self.next.fetch_add(WINDOW, Ordering::Relaxed);
            if offset >= self.size {
                break;
            }
            if let Err(error) = self.copy(lane, offset) {
                self.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    fn copy(&self, lane: &mut Lane, offset: u64) -> Result<(), CoreError> {
        if offset.is_multiple_of(REPORT_EVERY) {
            (self.gone_through)(offset);
        }
        let mut bytes = 0;
        lane.compare(offset, WINDOW.min(self.size - offset), &mut |replica, at, run| {
            bytes += run.len() as u64;
            write(replica, at, run)
        })?;
        self.written.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn broke() -> CoreError {
    CoreError::new(ErrorCode::Platform, "a copy ended in the midst of its work")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use nbd::memory::errno;
    use nbd::{ALLOCATION, Export, Extent, Refusal};

    use super::*;

    const MIB: usize = 1 << 20;

    /// A disk in memory that several may read and write at once; refuses to write from some byte on.
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
        fill(&Source { uri: source.uri(), changed: None, against: replica.uri() }, &|_| ())
    }

    /// A disk whose every 64 KiB differ from their neighbours, the first and each fifth of them zeroes.
    fn disk() -> Vec<u8> {
        let grain = |index: usize| vec![(index % 5 * (1 + index % 50)) as u8; 64 * 1024];
        (0..21 * 16 + 3).flat_map(grain).collect()
    }

    #[test]
    fn several_lanes_make_the_replica_like_the_disk_and_send_only_what_differs() {
        let ours = disk();
        let mut theirs = ours.clone();
        theirs[3 * MIB..9 * MIB].fill(0xee);
        let target = Ram::new(theirs, u64::MAX);
        assert_eq!(copied(&ours, &target).unwrap(), 6 * MIB as u64);
        assert!(*target.bytes.lock().unwrap() == ours);
        assert_eq!(copied(&ours, &target).unwrap(), 0);
    }

    #[test]
    fn one_lanes_failure_is_the_copys_and_ends_it() {
        let target = Ram::new(vec![0xee; disk().len()], 15 * MIB as u64);
        let error = copied(&disk(), &target).unwrap_err();
        assert!(error.message.contains("no room"), "{error}");
    }
}
