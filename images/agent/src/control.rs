//! The control port: one JSON object per line; each question is answered before the next is read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use agent::protocol::{Answer, CONTROL_PORT, Question};

use crate::sync::lock;
use crate::tracker::Tracker;

/// Longest question, in bytes.
const LONGEST_LINE: u64 = 4096;

/// Accepts connections and answers questions; returns only on failure.
pub(crate) fn serve(tracker: &Arc<Mutex<Tracker>>) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, CONTROL_PORT));
    let listener = listener.map_err(|e| format!("cannot listen on port {CONTROL_PORT}: {e}"))?;
    for caller in listener.incoming().filter_map(Result::ok) {
        let tracker = Arc::clone(tracker);
        // If no thread can be started the connection is closed.
        let _ =
            std::thread::Builder::new().name("caller".into()).spawn(move || serve_client(&caller, &tracker));
    }
    Ok(())
}

fn serve_client(mut caller: &TcpStream, tracker: &Mutex<Tracker>) {
    let mut questions = BufReader::new(caller);
    let mut line = String::new();
    while matches!((&mut questions).take(LONGEST_LINE).read_line(&mut line), Ok(read) if read > 0) {
        let answer = match serde_json::from_str(&line) {
            Ok(question) => answer(&question, tracker).unwrap_or_else(|why| Answer::Refused { why }),
            Err(error) => {
                Answer::Refused { why: format!("cannot parse the question: {error}: {}", line.trim()) }
            }
        };
        line.clear();
        let text = serde_json::to_string(&answer).unwrap_or_default();
        if writeln!(caller, "{text}").is_err() {
            return;
        }
    }
}

fn answer(question: &Question, tracker: &Mutex<Tracker>) -> Result<Answer, String> {
    let mut tracker = lock(tracker);
    match question {
        Question::Hello => Ok(Answer::Here { disks: tracker.disks() }),
        Question::Open { since } => {
            let (change, tells_changes) = tracker.open(since.as_deref())?;
            Ok(Answer::DiskSnapshot { change, tells_changes, disks: tracker.disks() })
        }
        Question::Close { change, acknowledge } => tracker.close(change, *acknowledge).map(|()| Answer::Done),
        Question::Forget => tracker.forget().map(|()| Answer::Done),
        Question::ShutDown => {
            let asked = Command::new("/sbin/poweroff").spawn();
            asked.map(|_| Answer::Done).map_err(|e| format!("cannot run /sbin/poweroff: {e}"))
        }
    }
}
