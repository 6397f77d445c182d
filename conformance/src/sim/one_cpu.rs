//! Runs both sides of a simulation over the wire on one CPU.
//!
//! In virtual time the suite and the core work in turn, so a second CPU has nothing to do. Waking
//! the other side on another CPU, which may sleep, takes several times as long as on this one,
//! above all in a virtual machine.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// In which of its places for parallel tests nextest runs this one.
const PLACE: &str = "NEXTEST_TEST_GLOBAL_SLOT";

/// Keeps this thread, and all threads and processes that it starts from now on, on one CPU. Tests
/// that run in parallel get different ones. A host that does not allow it is only slower.
pub(crate) fn stay_on_one() {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    let place = std::env::var(PLACE).ok().and_then(|place| place.parse().ok());
    let mut one = CpuSet::new();
    one.set(choose(&allowed, place).unwrap_or_else(sched_getcpu));
    // Slower is no failure.
    let _ = sched_setaffinity(None, &one);
}

/// The CPU for a place among those that are allowed. `None`: any.
fn choose(allowed: &CpuSet, place: Option<usize>) -> Option<usize> {
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    cpus.get(place? % cpus.len().max(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_tests_share_the_allowed_cpus_evenly() {
        let mut allowed = CpuSet::new();
        [1, 4, 6].into_iter().for_each(|cpu| allowed.set(cpu));
        let chosen: Vec<_> = (0..5).map(|place| choose(&allowed, Some(place))).collect();
        assert_eq!(chosen, [1, 4, 6, 1, 4].map(Some));
        assert_eq!(choose(&allowed, None), None);
        assert_eq!(choose(&CpuSet::new(), Some(0)), None);
    }

    #[test]
    fn a_thread_and_what_it_starts_stay_on_one_cpu() {
        // A thread of its own, so that no other test is affected.
        let started = std::thread::spawn(|| {
            stay_on_one();
            std::thread::spawn(|| sched_getaffinity(None).map(|cpus| cpus.count())).join()
        });
        assert_eq!(started.join().unwrap().unwrap().unwrap(), 1);
    }
}
