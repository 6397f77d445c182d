//! A limit for a simulation that comes to no end by itself.
//!
//! Waits in a simulation end by virtual time. That advances only while nothing can run, so a core
//! or a check that runs in a circle without waiting stops it, and every bound with it. The host's
//! time then ends the simulation. A core that is a process of its own is found out earlier, by the
//! wire protocol.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The longest that one simulation may take by the host's clock: a hundred times what the longest
/// takes, and longer than every wait of the wire protocol.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);

/// What is said about a simulation that was abandoned.
pub(crate) fn why() -> String {
    format!(
        "it came to no end within {} s of the host's time and was abandoned: the core runs in a circle \
         without waiting, or the check does",
        LIMIT.as_secs()
    )
}

/// Does work on a thread of its own. `None`: it came to no end within the limit. Its thread is then
/// left behind and ends with this process.
///
/// # Panics
/// The work panics, or there can be no thread.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    // The receiver may have gone: nobody waits for abandoned work.
    let work = move || drop(done.send(work()));
    let worker = thread::Builder::new().name("simulation".to_owned()).spawn(work).expect("a thread");
    match result.recv_timeout(limit) {
        Ok(result) => Some(result),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_ends_returns_its_result() {
        assert_eq!(within(LIMIT, || 7), Some(7));
    }

    #[test]
    fn work_that_runs_in_a_circle_is_abandoned() {
        let (stop, stopped) = mpsc::channel::<()>();
        let circle = move || while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {};
        assert_eq!(within(Duration::from_millis(50), circle), None);
        drop(stop);
    }

    #[test]
    #[should_panic(expected = "it is broken")]
    fn a_panic_is_passed_on() {
        within(LIMIT, || panic!("it is broken"));
    }
}
