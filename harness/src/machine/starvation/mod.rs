//! Whether a guest missed a time limit, or stood still, because its host did not let it go on.
//!
//! The guest's own kernel complains on its console that it does not get to run; or QEMU stopped the
//! guest because the host's disk is full; or for most of the time the guest's processor waited for
//! one of the host's, QEMU's reads and writes waited for the host's disks, a signal had stopped
//! QEMU, or the suite itself did not run. A guest that hangs, or that does not boot because its
//! disks are wrong, shows none of these.
//!
//! The host's own statistics of stalls (`/proc/pressure/io`) are not used: they cannot tell whose
//! reads wait. One program that reads much on a host with nothing else to do makes them say that
//! everything waits, and one that computes makes them say that nothing does.

mod process;
mod sampler;
mod samples;

use std::time::Instant;

use self::sampler::Sampler;
use self::samples::{Passed, Sample, stopped_at_last};
use super::Serial;
use super::serial::Complaint;
use crate::qmp::Monitor;

/// A guest from the moment on when a wait began.
#[derive(Debug)]
pub struct Watched<'a> {
    serial: &'a Serial,
    monitor: &'a Monitor,
    began: Instant,
    /// `None` if the process of its QEMU is unknown.
    sampler: Option<Sampler>,
}

impl<'a> Watched<'a> {
    /// Begins to watch the guest with this console and this monitor of its QEMU.
    pub(crate) fn begin(serial: &'a Serial, monitor: &'a Monitor) -> Self {
        let began = Instant::now();
        Self { serial, monitor, began, sampler: monitor.pid().map(Sampler::start) }
    }

    /// What shows that the host has starved the guest since then; `None` if nothing does.
    #[must_use]
    pub fn starved(&self) -> Option<String> {
        let samples = self.samples();
        let held_up = Passed::between(&samples, self.began, Instant::now()).starved();
        self.shown(self.began, held_up.or_else(|| stopped_at_last(&samples)))
    }

    /// What shows that the host starved the guest from one moment of the watch to another; `None`
    /// if nothing does. What happened at other times of the watch explains nothing.
    #[must_use]
    pub fn starved_between(&self, from: Instant, to: Instant) -> Option<String> {
        self.shown(from, Passed::between(&self.samples(), from, to).starved())
    }

    fn samples(&self) -> Vec<Sample> {
        self.sampler.as_ref().map(Sampler::so_far).unwrap_or_default()
    }

    fn shown(&self, from: Instant, held_up: Option<String>) -> Option<String> {
        shown(self.serial.last_complaint(), from, held_up, self.monitor.unwritten())
    }
}

/// What shows that the host has starved a guest since `from`: the last complaint of its kernel,
/// whatever held it up, and how many writes the host's disk had no space for.
fn shown(
    complaint: Option<Complaint>,
    from: Instant,
    held_up: Option<String>,
    unwritten: u64,
) -> Option<String> {
    // A kernel complains once it runs again, so a complaint about a time may come after it.
    let complaint = complaint.filter(|complaint| complaint.heard >= from);
    let complaint = complaint.map(|complaint| format!("its kernel says: {}", complaint.line));
    // Nobody resumes such a guest.
    let full = (unwritten > 0).then(|| "its QEMU found no space on the host's disk".to_owned());
    let shown: Vec<_> = complaint.into_iter().chain(held_up).chain(full).collect();
    (!shown.is_empty()).then(|| shown.join("; "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_complaint_of_an_earlier_time_explains_nothing() {
        let from = Instant::now();
        let heard = from + Duration::from_secs(5);
        let complaint = Some(Complaint { line: "watchdog: BUG: soft lockup".to_owned(), heard });
        let why = shown(complaint.clone(), from, None, 0);
        assert_eq!(why.as_deref(), Some("its kernel says: watchdog: BUG: soft lockup"));
        assert_eq!(shown(complaint, heard + Duration::from_secs(1), None, 0), None);
    }

    #[test]
    fn everything_that_shows_it_is_named() {
        let why = shown(None, Instant::now(), Some("its QEMU was stopped by a signal".to_owned()), 2);
        let expected = "its QEMU was stopped by a signal; its QEMU found no space on the host's disk";
        assert_eq!(why.as_deref(), Some(expected));
    }
}
