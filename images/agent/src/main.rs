//! The program inside the guest. Its library describes the protocol.
//!
//! `agent stack DISK` builds a device-mapper stack for a disk and its partitions, before they are
//! mounted. `agent serve` answers requests. The program runs from memory, because it suspends the
//! disks, and nothing can be read from them then.

mod change_set;
mod changes;
mod control;
mod device;
mod dm_stack;
mod exports;
mod ioctl;
mod mapper;
#[cfg(test)]
mod models;
mod server;
mod sync;
mod tracker;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["stack", disk] => dm_stack::build(disk),
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
    let tracker = tracker::Tracker::start(Arc::clone(&exports))?;
    server::start(exports)?;
    control::serve(&Arc::new(Mutex::new(tracker)))
}
