//! The threads of the workload: one for the ledger, one per disk for background writes, one for the
//! bank.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use witness::protocol::{FromGuest, Load};
use witness::random::Random;

use crate::background_writes::BackgroundWrites;
use crate::bank;
use crate::ledger_file::Ledger;
use crate::outbox::Outbox;
use crate::pace::Pace;
use crate::paths::{Paths, ROLES};
use crate::pause_gate::Gate;
use crate::sync::lock;

/// Number of transfers between two checkpoints of the bank.
const CHECKPOINT_EVERY: u64 = 64;
const BANK_STREAM: u64 = 0xBA;

/// The operation that a worker repeats. An error ends the worker.
type Operation = Box<dyn FnMut() -> Result<(), String> + Send>;

/// The running threads.
#[derive(Default)]
pub(crate) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts the threads for a workload.
    pub(crate) fn start(
        load: &Load,
        paths: &Paths,
        ledger: &Arc<Mutex<Ledger>>,
        gate: &Arc<Gate>,
        outbox: &Outbox,
    ) -> Result<Self, String> {
        let mut jobs = vec![("ledger".to_owned(), load.records_per_second, append(ledger, outbox))];
        if load.churn_per_second > 0 {
            for (disk, role) in ROLES.iter().enumerate() {
                let name = format!("background writes on the {role} disk");
                let operation = background_writes(load, paths, disk).map_err(|e| format!("{name}: {e}"))?;
                jobs.push((name, load.churn_per_second, operation));
            }
        }
        if load.transfers_per_second > 0 {
            let transfer = transfer(load, paths).map_err(|e| format!("bank: {e}"))?;
            jobs.push(("bank".to_owned(), load.transfers_per_second, transfer));
        }
        let spawn = |(name, rate, operation)| spawn(name, rate, operation, Arc::clone(gate), outbox.clone());
        jobs.into_iter()
            .map(spawn)
            .collect::<io::Result<_>>()
            .map(Self)
            .map_err(|e| format!("cannot start a thread: {e}"))
    }

    /// Waits for the threads to end; the gate must be stopped first.
    pub(crate) fn join(&mut self) {
        for thread in self.0.drain(..) {
            // The message of a worker that panicked is on the console; the others still have to
            // end.
            let _ = thread.join();
        }
    }
}

fn spawn(
    name: String,
    per_second: u32,
    mut operation: Operation,
    gate: Arc<Gate>,
    outbox: Outbox,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        let Some(mut pace) = Pace::new(per_second) else { return };
        while let Some(_pass) = gate.pass_at(pace.next()) {
            if let Err(problem) = operation() {
                outbox.report_error(format!("{name}: {problem}"));
                return;
            }
        }
    })
}

fn append(ledger: &Arc<Mutex<Ledger>>, outbox: &Outbox) -> Operation {
    let (ledger, outbox) = (Arc::clone(ledger), outbox.clone());
    Box::new(move || {
        let number = lock(&ledger).append(false).map_err(|e| e.to_string())?;
        outbox.send(FromGuest::Ack { number });
        Ok(())
    })
}

fn background_writes(load: &Load, paths: &Paths, disk: usize) -> io::Result<Operation> {
    let random = Random::for_stream(load.seed, disk as u64);
    let mut writes = BackgroundWrites::open(&paths.background_files[disk], load.churn_bytes, random)?;
    Ok(Box::new(move || writes.operate().map_err(|e| e.to_string())))
}

fn transfer(load: &Load, paths: &Paths) -> rusqlite::Result<Operation> {
    let mut bank = bank::open_or_create(&paths.bank)?;
    let mut random = Random::for_stream(load.seed, BANK_STREAM);
    let mut transfers: u64 = 0;
    Ok(Box::new(move || {
        transfers += 1;
        let moved = bank::transfer(&mut bank, &mut random);
        let kept = if transfers.is_multiple_of(CHECKPOINT_EVERY) { bank::checkpoint(&bank) } else { Ok(()) };
        moved.and(kept).map_err(|e| e.to_string())
    }))
}
