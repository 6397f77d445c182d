//! Samples of a QEMU, taken while its guest is watched.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::samples::Sample;
use crate::qmp::lock;

/// Time from one sample to the next: what is asked about lasts 20 s and more.
const PERIOD: Duration = Duration::from_secs(1);
/// Most samples that are kept, which are those of four hours. No wait is as long.
const MOST: usize = 4 * 3600;

/// Takes samples until it is dropped.
#[derive(Debug)]
pub(super) struct Sampler {
    process: i32,
    samples: Arc<Mutex<Vec<Sample>>>,
    /// Dropped with this value, which ends the thread. `None` if the host had no thread for it.
    _ends: Option<mpsc::Sender<()>>,
}

impl Sampler {
    /// Takes a first sample of this process at once, and one each second.
    pub(super) fn start(process: i32) -> Self {
        Self::every(PERIOD, process)
    }

    /// The samples are taken on a thread of their own, so that only the host can delay them, and
    /// not a core that keeps the suite's other threads busy.
    fn every(period: Duration, process: i32) -> Self {
        let samples: Arc<Mutex<Vec<_>>> = Arc::new(Mutex::new(Sample::take(process).into_iter().collect()));
        let (ends, ended) = mpsc::channel();
        let taken = Arc::clone(&samples);
        let thread = thread::Builder::new().name("starvation".to_owned());
        let started = thread.spawn(move || {
            while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) && take(process, &taken) {}
        });
        Self { process, samples, _ends: started.ok().map(|_| ends) }
    }

    /// All samples in order of time. The last one is of this moment, unless the process has ended.
    pub(super) fn so_far(&self) -> Vec<Sample> {
        take(self.process, &self.samples);
        lock(&self.samples).clone()
    }
}

/// Adds a sample of this moment. Returns whether the process still exists.
fn take(process: i32, samples: &Mutex<Vec<Sample>>) -> bool {
    // Locked before it looks, so that the samples are in order.
    let mut samples = lock(samples);
    if samples.len() >= MOST {
        samples.drain(..MOST / 2);
    }
    let sample = Sample::take(process);
    samples.extend(sample);
    sample.is_some()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Instant;

    use rustix::process::{Pid, Signal, kill_process};

    use super::super::samples::State;
    use super::*;

    /// Time from one sample to the next in these tests.
    const OFTEN: Duration = Duration::from_millis(5);

    /// A process that does nothing.
    struct Idle(Child);

    impl Idle {
        fn signal(&self, signal: Signal) {
            kill_process(Pid::from_child(&self.0), signal).unwrap();
        }
    }

    impl Drop for Idle {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Waits until something is so, but not for ever.
    fn until(is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() && Instant::now() < deadline {
            thread::yield_now();
        }
    }

    #[test]
    fn a_stop_is_seen_although_it_is_over_when_somebody_asks() {
        let idle = Idle(Command::new("sleep").arg("60").spawn().unwrap());
        let sampler = Sampler::every(OFTEN, i32::try_from(idle.0.id()).unwrap());
        let was_stopped = |samples: &[Sample]| samples.iter().any(|one| one.state == State::Stopped);

        idle.signal(Signal::STOP);
        until(|| was_stopped(&lock(&sampler.samples)));
        idle.signal(Signal::CONT);

        let samples = sampler.so_far();
        assert!(was_stopped(&samples), "{samples:?}");
        assert!(samples.is_sorted_by_key(|sample| sample.at));
    }

    #[test]
    fn no_further_sample_is_taken_once_nobody_watches() {
        let sampler = Sampler::every(OFTEN, i32::try_from(std::process::id()).unwrap());
        let samples = Arc::downgrade(&sampler.samples);
        drop(sampler);
        until(|| samples.strong_count() == 0);
        assert_eq!(samples.strong_count(), 0, "the thread still holds them");
    }
}
