//! What every fuzz target has in common: its bounds, and how libFuzzer calls it.
//!
//! A target is a function of bytes that panics if a property does not hold. [`target!`] makes it a
//! program that also fails if one input needs more than [`MOST_MEMORY`] or [`LONGEST`].

use std::time::Duration;

pub use cap::Cap;
use rustix::time::{ClockId, clock_gettime};

/// Most memory that a target may hold, in bytes.
pub const MOST_MEMORY: usize = 256 << 20;
/// Most processor time that one input may take, over all threads. A busy machine does not add to
/// it; libFuzzer's own limit finds a target that waits.
pub const LONGEST: Duration = Duration::from_secs(1);

/// Makes a program of a target.
#[macro_export]
macro_rules! target {
    ($function:path) => {
        #[global_allocator]
        static MEMORY: $crate::Cap<std::alloc::System> =
            $crate::Cap::new(std::alloc::System, $crate::MOST_MEMORY);

        libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::bounded(|| $function(input)));
    };
}

/// Runs a target with one input.
///
/// # Panics
/// The input took longer than [`LONGEST`].
pub fn bounded(work: impl FnOnce()) {
    let began = processor_time();
    work();
    let took = processor_time().saturating_sub(began);
    assert!(took < LONGEST, "one input took {took:?} of processor time");
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
