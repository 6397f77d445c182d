//! The control channel: JSON lines over a virtio-serial port.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read};
use std::sync::{Arc, Mutex};

use witness::protocol::{CONTROL_PORT, FromGuest, ToGuest};

use crate::engine::Engine;
use crate::machine;
use crate::outbox::{NO_HOST_PAUSE, Outbox};
use crate::pause_gate::PauseSource;
use crate::sync::lock;

/// Longest line that a host may send, in bytes.
const LONGEST_LINE: usize = 64 * 1024;

/// Opens the control port; the kernel lets only one process open it.
pub(crate) fn open() -> Result<File, String> {
    let path = format!("/dev/virtio-ports/{CONTROL_PORT}");
    OpenOptions::new().read(true).write(true).open(&path).map_err(|e| format!("cannot open {path}: {e}"))
}

/// Executes the host's commands one by one; returns only if the port fails.
pub(crate) fn listen(port: File, outbox: &Outbox, engine: &Arc<Mutex<Engine>>) -> Result<(), String> {
    let mut port = BufReader::new(port);
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match port.read(&mut byte) {
            Ok(0) => std::thread::sleep(NO_HOST_PAUSE),
            Ok(_) if byte[0] == b'\n' => {
                handle(&std::mem::take(&mut line), outbox, engine);
            }
            Ok(_) if line.len() < LONGEST_LINE => line.push(byte[0]),
            Ok(_) => {}
            Err(e) => return Err(format!("control port: {e}")),
        }
    }
}

fn handle(line: &[u8], outbox: &Outbox, engine: &Arc<Mutex<Engine>>) {
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    match serde_json::from_slice::<ToGuest>(line) {
        Err(e) => {
            outbox.report_error(format!("cannot parse the command: {e}: {}", String::from_utf8_lossy(line)))
        }
        Ok(command) => {
            if let Some(message) =
                execute(command, engine).unwrap_or_else(|what| Some(FromGuest::Trouble { what }))
            {
                outbox.send(message);
            }
        }
    }
}

/// Executes one command and returns its answer, if it has one.
fn execute(command: ToGuest, engine: &Arc<Mutex<Engine>>) -> Result<Option<FromGuest>, String> {
    let done = |command: &str| Ok(Some(FromGuest::Done { command: command.to_owned() }));
    let mut engine = lock(engine);
    match command {
        ToGuest::Hello => Ok(Some(machine::hello())),
        ToGuest::Check => engine.check().map(|findings| Some(FromGuest::Findings(findings))),
        ToGuest::Start(load) => engine.start(&load).and_then(|()| done("start")),
        ToGuest::Stop => {
            engine.stop();
            done("stop")
        }
        ToGuest::Quiesce => engine.quiesce(PauseSource::Host).and_then(|()| done("quiesce")),
        ToGuest::Thaw => {
            engine.thaw(PauseSource::Host);
            done("thaw")
        }
        ToGuest::Seen { number } => {
            engine.seen(number);
            Ok(None)
        }
        ToGuest::Measure(wanted) => engine.measure(wanted).map(|found| Some(FromGuest::Measured(found))),
        ToGuest::Shutdown => engine.shut_down().map(|()| None),
        ToGuest::IgnoreShutdown => {
            engine.ignores_shutdown = true;
            done("ignore-shutdown")
        }
        ToGuest::HeedShutdown => {
            engine.ignores_shutdown = false;
            done("heed-shutdown")
        }
        ToGuest::OpenFirewall => machine::open_firewall().and_then(|()| done("open-firewall")),
    }
}
