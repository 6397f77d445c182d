//! Requests from the guest's own scripts: the guest agent's freeze hook, and everything that shuts
//! the machine down.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use crate::engine::Engine;
use crate::pause_gate::PauseSource;
use crate::sync::lock;

const SOCKET: &str = "/run/witness.sock";
const LONGEST_REQUEST: u64 = 64;

/// Sends `request` to the running witness and waits for its answer.
pub(crate) fn ask(request: &str) -> Result<(), String> {
    let mut socket = UnixStream::connect(SOCKET).map_err(|e| format!("no witness at {SOCKET}: {e}"))?;
    writeln!(socket, "{request}").map_err(|e| e.to_string())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    match answer.trim() {
        "ok" => Ok(()),
        "" => Err("the witness ended without an answer".to_owned()),
        problem => Err(problem.to_owned()),
    }
}

/// Starts the thread that answers requests.
pub(crate) fn serve(engine: Arc<Mutex<Engine>>) -> Result<(), String> {
    let _ = std::fs::remove_file(SOCKET);
    let listener = UnixListener::bind(SOCKET).map_err(|e| format!("cannot listen at {SOCKET}: {e}"))?;
    let answer =
        move || listener.incoming().filter_map(Result::ok).for_each(|caller| respond(caller, &engine));
    std::thread::Builder::new().name("hook".into()).spawn(answer).map(drop).map_err(|e| e.to_string())
}

fn respond(mut caller: UnixStream, engine: &Arc<Mutex<Engine>>) {
    let mut request = String::new();
    if BufReader::new((&caller).take(LONGEST_REQUEST)).read_line(&mut request).is_err() {
        return;
    }
    let answer = match request.trim() {
        "freeze" => lock(engine).quiesce(PauseSource::Agent),
        "thaw" => {
            lock(engine).thaw(PauseSource::Agent);
            Ok(())
        }
        // Answered first, because the caller must not be waiting when its file system is unmounted.
        "shutdown" => {
            let _ = caller.write_all(b"ok\n");
            drop(caller);
            shut_down(engine);
            return;
        }
        other => Err(format!("no such request: {other:?}")),
    };
    // The caller may have gone away.
    let _ = writeln!(caller, "{}", answer.err().unwrap_or_else(|| "ok".to_owned()));
}

/// Shuts down on request of a caller that cannot receive an error message.
pub(crate) fn shut_down(engine: &Arc<Mutex<Engine>>) {
    let mut engine = lock(engine);
    if engine.ignores_shutdown {
        eprintln!("witness: the shutdown request is ignored, as the host ordered");
        return;
    }
    if let Err(problem) = engine.shut_down() {
        eprintln!("witness: {problem}");
    }
}
