//! The TCP service that users of the machine would use: a line `status` is answered with a line of
//! JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use witness::protocol::SERVICE_PORT;

use crate::engine::Engine;
use crate::sync::lock;

/// Longest request, in bytes.
const LONGEST_LINE: u64 = 256;
/// Time after which the connection of a silent caller is closed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts to listen on all addresses.
pub(crate) fn start(engine: Arc<Mutex<Engine>>) -> Result<(), String> {
    let address = (Ipv4Addr::UNSPECIFIED, SERVICE_PORT);
    let listener =
        TcpListener::bind(address).map_err(|e| format!("cannot listen on port {SERVICE_PORT}: {e}"))?;
    let accept = move || {
        for caller in listener.incoming().filter_map(Result::ok) {
            let engine = Arc::clone(&engine);
            // If no thread can be started the connection is closed.
            let _ = std::thread::Builder::new().name("caller".into()).spawn(move || serve(&caller, &engine));
        }
    };
    std::thread::Builder::new().name("service".into()).spawn(accept).map(drop).map_err(|e| e.to_string())
}

fn serve(caller: &TcpStream, engine: &Arc<Mutex<Engine>>) {
    let _ = caller.set_read_timeout(Some(PATIENCE));
    let mut requests = BufReader::new(caller);
    let mut line = String::new();
    while matches!((&mut requests).take(LONGEST_LINE).read_line(&mut line), Ok(read) if read > 0) {
        let answer = respond(line.trim(), engine);
        line.clear();
        let mut caller = caller;
        if writeln!(caller, "{answer}").is_err() {
            return;
        }
    }
}

fn respond(request: &str, engine: &Arc<Mutex<Engine>>) -> String {
    if request != "status" {
        return error(&format!("no such request: {request:?}"));
    }
    let answer =
        lock(engine).answer().and_then(|answer| serde_json::to_string(&answer).map_err(|e| e.to_string()));
    answer.unwrap_or_else(|problem| error(&problem))
}

fn error(problem: &str) -> String {
    serde_json::json!({ "error": problem }).to_string()
}
