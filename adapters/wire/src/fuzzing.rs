//! The fuzz target of this crate: lines to messages, what each method reads from them, and a
//! connection that serves whatever a peer sends. Compiled for tests, which run the committed
//! inputs, and for fuzzing.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::runtime::{Builder, Handle};

use crate::compatibility;
use crate::connection::{Connection, Options, Service};
use crate::error::WireError;
use crate::lines::Lines;
use crate::message::{Answer, ErrorObject, Message, Request, answer_line, call_line};
use crate::protocol::MOST_OPEN_REQUESTS;

/// Runs the target. The first byte says whether the sides of the connection work in turn; the rest
/// is what the peer sends.
///
/// # Panics
/// A property does not hold.
pub fn run(input: &[u8]) {
    let Some((first, sent)) = input.split_first() else { return };
    for line in sent.split(|byte| *byte == b'\n') {
        if let Ok(message) = Message::parse(line) {
            means_the_same_again(&message);
            if let Ok(Value::Object(members)) = serde_json::from_slice(line) {
                read_as_its_method(&members.into());
            }
        }
    }
    serve(sent.to_vec(), first & 1 != 0);
}

/// A message that is written again is the same message.
fn means_the_same_again(message: &Message) {
    let line = match message {
        Message::Request(Request { id, method, params }) => {
            // The id of a call of ours is a number, and theirs need not be one.
            let line = call_line(Some(7), method, params).expect("a request can be written");
            let id = serde_json::to_string(id).expect("an id can be written");
            line.replacen("\"id\":7", &format!("\"id\":{id}"), 1)
        }
        Message::Notification { method, params } => {
            call_line(None, method, params).expect("a notification can be written")
        }
        Message::Answer { id: Some(id), answer } => {
            answer_line(id, answer).expect("an answer can be written")
        }
        Message::Answer { id: None, .. } => return,
    };
    assert!(!line.contains('\n'), "{line}");
    let again = Message::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
    let same = match (message, &again) {
        (Message::Request(one), Message::Request(other)) => one.id == other.id && one.method == other.method,
        (Message::Notification { method: one, .. }, Message::Notification { method: other, .. }) => {
            one == other
        }
        (Message::Answer { id: one, .. }, Message::Answer { id: other, .. }) => one == other,
        _ => false,
    };
    assert!(same, "{message:?} became {again:?}");
}

/// Parameters and results of every method are read or refused.
fn read_as_its_method(message: &Value) {
    if let Some(method) = message["method"].as_str() {
        // The parameters stand for the result, too: most views are in some request.
        let _ = compatibility::read(method, &message["params"], &message["params"]["result"]);
    }
}

/// Serves a peer until the connection ends, which it does when the peer has sent everything.
fn serve(sent: Vec<u8>, in_turn: bool) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let (received, to) = tokio::io::duplex(1 << 20);
        let options = Options {
            service: Arc::new(Echo),
            serve_on: Handle::current(),
            then_serve_on: None,
            in_turn,
            observer: None,
            why_closed: None,
        };
        let connection = Connection::start(Lines::new(std::io::Cursor::new(sent)), to, options);
        let reader = tokio::spawn(async move {
            let mut received = received;
            tokio::io::copy(&mut received, &mut tokio::io::sink()).await
        });
        let error = connection.ended().await;
        assert!(!matches!(error, WireError::Host { .. }), "{error}");
        assert!(
            connection.sent() <= 1 + MOST_OPEN_REQUESTS as u64 * 64,
            "{} messages sent",
            connection.sent()
        );
        drop(connection);
        reader.abort();
    });
}

/// Answers each request with its parameters, and refuses those without.
struct Echo;

impl Service for Echo {
    fn serve(&self, request: Request) -> BoxFuture<'static, Answer> {
        let refused = ErrorObject::no_method(&request.method);
        std::future::ready(request.params.ok_or(refused)).boxed()
    }

    fn finishes_cancelled_work(&self) -> bool {
        false
    }
}

#[cfg(test)]
#[path = "../../../xtask/fuzz/src/replay.rs"]
mod replay;

#[test]
fn the_committed_inputs_are_survived() {
    replay::replay("messages", run);
}
