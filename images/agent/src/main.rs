//! The program inside the guest. See the library for how it speaks.
//!
//! `agent stack DISK` lays device mapper under a disk and its partitions, before they are mounted. `agent serve` answers
//! for ever. The program runs from memory: while it holds the disks suspended, nothing can be read from them.

mod change_set;
mod changes;
mod control;
mod device;
mod dm_stack;
mod exports;
mod ioctl;
mod mapper;
mod server;
mod tracker;
mod wire;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["stack", disk] => dm_stack::lay_under(disk),
        ["serve"] => serve(),
        _ => Err("usage: agent stack DISK | agent serve".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("agent: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), String> {
    let exports = Arc::new(exports::Exports::default());
    let tracker = tracker::Tracker::begin(Arc::clone(&exports))?;
    server::start(exports)?;
    control::serve(&Arc::new(Mutex::new(tracker)))
}

/// Locks, whatever happened to the thread that held the lock before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
