//! The program inside the guest. See the library for what it writes and how it speaks.
//!
//! Without arguments it is the witness. `witness hook freeze|thaw|shutdown` asks the running witness for
//! something and waits for it; `witness boot-file DEVICE PATH` prints a file of the FAT partition.

mod background_writes;
mod bank;
mod boot_file;
mod control;
mod engine;
mod hook;
mod ledger_file;
mod machine;
mod paths;
mod pause_gate;
mod power_button;
mod random;
mod service;
mod speed;
mod superblock;
mod workers;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::Engine;
use paths::Paths;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => run(),
        ["hook", request] => hook::ask(request),
        ["boot-file", device, path] => boot_file::print(device, path),
        _ => Err("usage: witness | witness hook REQUEST | witness boot-file DEVICE PATH".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("witness: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until the machine is powered off.
fn run() -> Result<(), String> {
    let port = control::open()?;
    let outbox = control::Outbox::start(&port)?;
    outbox.say(machine::hello());
    let engine = Arc::new(Mutex::new(Engine::new(Paths::guest(), outbox.clone())));
    lock(&engine).settle();
    service::start(Arc::clone(&engine))?;
    hook::serve(Arc::clone(&engine))?;
    power_button::watch(Arc::clone(&engine));
    control::listen(port, &outbox, &engine)
}

/// Locks, whatever happened to the thread that held the lock before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
