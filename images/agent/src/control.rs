//! The questions' port: one JSON object a line, each answered before the next is read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use agent::protocol::{Answer, CONTROL_PORT, Question};

use crate::lock;
use crate::tracker::Tracker;

/// Longest question, in bytes.
const LONGEST_LINE: u64 = 4096;

/// Answers for ever.
pub(crate) fn serve(tracker: &Arc<Mutex<Tracker>>) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, CONTROL_PORT));
    let listener = listener.map_err(|e| format!("cannot listen on port {CONTROL_PORT}: {e}"))?;
    for caller in listener.incoming().filter_map(Result::ok) {
        let tracker = Arc::clone(tracker);
        // A caller that gets no thread is dropped and sees its connection end.
        let _ = std::thread::Builder::new().name("caller".into()).spawn(move || converse(&caller, &tracker));
    }
    Ok(())
}

fn converse(mut caller: &TcpStream, tracker: &Mutex<Tracker>) {
    let mut questions = BufReader::new(caller);
    let mut line = String::new();
    while matches!((&mut questions).take(LONGEST_LINE).read_line(&mut line), Ok(read) if read > 0) {
        let answer = match serde_json::from_str(&line) {
            Ok(question) => answer(&question, tracker).unwrap_or_else(|why| Answer::Refused { why }),
            Err(error) => Answer::Refused { why: format!("not understood: {error}: {}", line.trim()) },
        };
        line.clear();
        let words = serde_json::to_string(&answer).unwrap_or_default();
        if writeln!(caller, "{words}").is_err() {
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
