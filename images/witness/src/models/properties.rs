//! What holds for the gate in every order of execution.

use std::time::Instant;

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::thread;

use super::pause_gate::{Gate, PauseSource};

/// Orders of execution that are tried.
const ORDERS: usize = 3_000;

/// A gate with workers, each of which makes so many operations, and how many are in progress.
fn workers(gate: &Arc<Gate>, operations: u32) -> (Vec<thread::JoinHandle<()>>, Arc<AtomicU32>) {
    let inside = Arc::new(AtomicU32::new(0));
    let spawn = |_| {
        let (gate, inside) = (Arc::clone(gate), Arc::clone(&inside));
        thread::spawn(move || {
            for _ in 0..operations {
                let Some(_pass) = gate.pass_at(Instant::now()) else { return };
                inside.fetch_add(1, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        })
    };
    ((0..2).map(spawn).collect(), inside)
}

/// Nothing is in progress while the gate is paused, and everything goes on afterwards.
pub(super) fn paused() {
    let check = || {
        let gate = Arc::new(Gate::default());
        let (workers, inside) = workers(&gate, 2);
        assert!(!gate.pause(PauseSource::Host));
        assert_eq!(inside.load(Ordering::SeqCst), 0, "in progress while the gate is paused");
        assert!(gate.pause(PauseSource::Agent));
        gate.resume(PauseSource::Host);
        thread::yield_now();
        assert_eq!(inside.load(Ordering::SeqCst), 0, "in progress while one request is left");
        gate.resume(PauseSource::Agent);
        // A worker that nobody wakes would wait here for ever, which the checker reports.
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    };
    shuttle::check_random(check, ORDERS);
    shuttle::check_pct(check, ORDERS, 3);
}

/// A stop ends every worker, also while the gate is paused.
pub(super) fn stopped() {
    let check = || {
        let gate = Arc::new(Gate::default());
        let (workers, _) = workers(&gate, u32::MAX);
        gate.pause(PauseSource::Agent);
        gate.stop();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        gate.resume(PauseSource::Agent);
        gate.open();
        assert!(gate.pass_at(Instant::now()).is_some());
    };
    shuttle::check_random(check, ORDERS);
}
