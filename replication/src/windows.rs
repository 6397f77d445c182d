//! The windows of a disk that several threads copy side by side.

use super::sync::{AtomicBool, AtomicU64, Ordering};

/// State shared by the threads.
pub(crate) struct Windows {
    size: u64,
    step: u64,
    /// Offset of the next window.
    next: AtomicU64,
    written: AtomicU64,
    /// Set when a thread has failed, so that the others stop.
    failed: AtomicBool,
}

impl Windows {
    /// The windows of `step` bytes of a disk of `size` bytes.
    pub(crate) fn new(size: u64, step: u64) -> Self {
        let [next, written] = [0, 0].map(AtomicU64::new);
        Self { size, step, next, written, failed: AtomicBool::new(false) }
    }

    /// Copies one window after another until none is left or a thread has failed. `copy` is given
    /// the offset and the length of a window and returns the number of bytes written.
    pub(crate) fn copy_each<E>(&self, mut copy: impl FnMut(u64, u64) -> Result<u64, E>) -> Result<(), E> {
        while !self.failed.load(Ordering::Relaxed) {
            let offset = self.next.fetch_add(self.step, Ordering::Relaxed);
            if offset >= self.size {
                break;
            }
            match copy(offset, self.step.min(self.size - offset)) {
                Ok(bytes) => self.written.fetch_add(bytes, Ordering::Relaxed),
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            };
        }
        Ok(())
    }

    /// Bytes written by all threads, once they have ended.
    pub(crate) fn into_written(self) -> u64 {
        self.written.into_inner()
    }
}
