//! The program inside the guest. Its library describes its data and its protocol.
//!
//! Without arguments it is the witness. `witness hook freeze|thaw|shutdown` sends a request to the
//! running witness and waits for the answer; `witness boot-file DEVICE PATH` prints a file of the
//! FAT partition.

mod background_writes;
mod bank;
mod boot_file;
mod control;
mod engine;
mod hook;
mod ledger_file;
mod machine;
#[cfg(test)]
mod models;
mod outbox;
mod pace;
mod paths;
mod pause_gate;
#[cfg(test)]
mod pause_gate_tests;
mod power_button;
mod service;
mod speed;
mod superblock;
mod sync;
mod workers;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use engine::Engine;
use outbox::Outbox;
use paths::Paths;
use sync::lock;

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
    let outbox = Outbox::start(&port)?;
    outbox.send(machine::hello());
    let engine = Arc::new(Mutex::new(Engine::new(Paths::guest(), outbox.clone())));
    lock(&engine).record_boot_state();
    service::start(Arc::clone(&engine))?;
    hook::serve(Arc::clone(&engine))?;
    power_button::watch(Arc::clone(&engine));
    control::listen(port, &outbox, &engine)
}
