//! A whole disk, copied: several windows are under way at once where the servers allow it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use contract::{CoreError, ErrorCode};

use crate::processor::write;
use crate::transfer::{Lane, REPORT_EVERY, Source, WINDOW};

/// Windows under way at once, each on connections of its own. More would only wait for each other at the target.
const LANES: usize = 4;
/// Each time so much was written, in bytes, a lane makes it durable while the others go on, so that little is left
/// to wait for at the end.
const FLUSH_EVERY: u64 = 64 * WINDOW;

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
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / FLUSH_EVERY == (before + bytes) / FLUSH_EVERY { Ok(()) } else { lane.flush() }
    }
}

fn broke() -> CoreError {
    CoreError::new(ErrorCode::Platform, "a copy ended in the midst of its work")
}
