//! A limit for a simulation that comes to no end by itself.
//!
//! Waits in a simulation end by virtual time. That advances only while nothing can run, so a core
//! or a check that runs in a circle without waiting stops it, and every bound with it. A limit
//! outside of the simulation then ends it. It counts the processor time of this process, so that a
//! slow or busy host ends nothing early. A core that is a process of its own is found out by the
//! wire protocol.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a simulation may run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Processor time that this process may use meanwhile, all threads together.
    processor: Duration,
    /// Time by the host's clock, for a simulation that waits for ever and uses no processor.
    host: Duration,
}

impl Limit {
    /// The limit of a simulation that does everything so many times.
    pub(crate) fn times(self, count: u32) -> Self {
        Self { processor: self.processor * count, host: self.host * count }
    }
}

/// A hundred times what the longest simulation takes, and longer than every wait of the wire
/// protocol.
pub(crate) const LIMIT: Limit =
    Limit { processor: Duration::from_secs(150), host: Duration::from_secs(1800) };

/// How often the processor time is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// In a second there are so many of the units in which Linux tells processor time.
const TICKS: u64 = 100;

/// What is said about a simulation that was abandoned.
pub(crate) fn why() -> String {
    format!(
        "it came to no end within {} s of processor time or {} s by the host's clock and was abandoned: \
         the core runs in a circle without waiting, or the check does",
        LIMIT.processor.as_secs(),
        LIMIT.host.as_secs()
    )
}

/// Does work on a thread of its own. `None`: it came to no end within the limit. Its thread is then
/// left behind and ends with this process.
///
/// # Panics
/// The work panics, or there can be no thread.
pub(crate) fn within<T: Send + 'static>(
    limit: Limit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    // The receiver may have gone: nobody waits for abandoned work.
    let work = move || drop(done.send(work()));
    let (began, used) = (Instant::now(), processor_time());
    let worker = thread::Builder::new().name("simulation".to_owned()).spawn(work).expect("a thread");
    loop {
        match result.recv_timeout(LOOK_EVERY) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Timeout) => {
                let is_over = processor_time().saturating_sub(used) >= limit.processor;
                if is_over || began.elapsed() >= limit.host {
                    return None;
                }
            }
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => return None,
            },
        }
    }
}

/// The processor time that this process has used; zero if the host does not tell.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may contain spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // User and system time are fields 14 and 15; the first one here is field 3.
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_ends_returns_its_result() {
        assert_eq!(within(LIMIT, || 7), Some(7));
    }

    #[test]
    fn work_that_runs_in_a_circle_is_abandoned_for_the_processor_time_that_it_uses() {
        let (stop, stopped) = mpsc::channel::<()>();
        let circle = move || while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {};
        let limit = Limit { processor: Duration::from_millis(50), ..LIMIT };
        assert_eq!(within(limit, circle), None);
        drop(stop);
    }

    #[test]
    fn work_that_waits_for_ever_is_abandoned_by_the_clock() {
        let (stop, stopped) = mpsc::channel::<()>();
        let limit = Limit { host: Duration::from_millis(50), ..LIMIT };
        assert_eq!(within(limit, move || stopped.recv().is_ok()), None);
        drop(stop);
    }

    #[test]
    #[should_panic(expected = "it is broken")]
    fn a_panic_is_passed_on() {
        within(LIMIT, || panic!("it is broken"));
    }
}
