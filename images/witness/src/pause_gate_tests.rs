//! The gate with threads of the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::pause_gate::{Gate, PauseSource};

#[test]
fn a_paused_gate_stops_all_work_until_the_last_request_is_withdrawn() {
    let gate = Arc::new(Gate::default());
    let count = Arc::new(AtomicU32::new(0));
    let worker = std::thread::spawn({
        let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
        move || {
            while let Some(_pass) = gate.pass_at(Instant::now()) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    assert!(!gate.pause(PauseSource::Host));
    assert!(gate.pause(PauseSource::Agent));
    gate.resume(PauseSource::Host);
    let before = count.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(count.load(Ordering::SeqCst), before);
    gate.resume(PauseSource::Agent);
    while count.load(Ordering::SeqCst) == before {
        std::thread::yield_now();
    }
    gate.stop();
    worker.join().expect("the worker ends");
    assert!(gate.pass_at(Instant::now()).is_none());
}
