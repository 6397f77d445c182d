//! Waiting for the end of a process by event.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits until the process behind a pidfd has ended, without a bound of `None`. Returns whether it
/// has.
///
/// # Errors
/// The descriptor is no pidfd.
pub fn until_ended(process: impl AsFd, bound: Option<Duration>) -> io::Result<bool> {
    let deadline = bound.map(|bound| Instant::now() + bound);
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
