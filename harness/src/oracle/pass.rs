//! One pass over both disks and the log that reports, for each sector, the cuts at which it
//! disagrees.
//!
//! The disk is processed in windows, to limit memory, several windows side by side. Within a window
//! only the written runs are followed through the log ([`Window`]); everything else is compared
//! with the base in wide blocks, and holes of both disks are skipped. Content is compared byte for
//! byte; no hashes are used.
//!
//! Memory: 48 bytes for each write of the log, and about 50 MiB for each core.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use super::OracleError;
use super::walk::{Mismatch, WINDOW_SECTORS, Walk};
use super::window::Window;

/// Receives the mismatches, in no particular order of sectors.
pub(super) trait Sink: Send {
    fn mismatch(&mut self, mismatch: Mismatch);
}

/// Number of sectors processed. Exempt sectors are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub written: u64,
    pub compared: u64,
}

/// Processes the whole disk, windows side by side on all cores.
///
/// Each core holds one window of both disks in memory.
pub(super) fn run(walk: &Walk<'_>, sink: &mut dyn Sink) -> Result<Seen, OracleError> {
    let next = AtomicUsize::new(0);
    let sink = Mutex::new(sink);
    let work = || work(walk, &next, &sink);
    let workers = available_parallelism().map_or(1, usize::from).min(walk.windows.len());
    thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut seen = work()?;
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            seen.written += theirs.written;
            seen.compared += theirs.compared;
        }
        Ok(seen)
    })
}

/// Processes windows until none is left.
fn work(walk: &Walk<'_>, next: &AtomicUsize, sink: &Mutex<&mut dyn Sink>) -> Result<Seen, OracleError> {
    let mut seen = Seen::default();
    let mut window = Window::new(walk);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(writes) = walk.windows.get(index) else { return Ok(seen) };
        let start = index as u64 * WINDOW_SECTORS;
        let sectors = start..(start + WINDOW_SECTORS).min(walk.disk_sectors);
        seen.compared += sectors.end - sectors.start - walk.exempt_in(&sectors);
        seen.written += window.process(sectors, writes)?;
        if !window.mismatches.is_empty() {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            window.mismatches.drain(..).for_each(|mismatch| sink.mismatch(mismatch));
        }
    }
}
