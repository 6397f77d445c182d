//! The queue of messages from the witness to the host.

use std::fs::File;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use witness::protocol::FromGuest;

/// Pause between two attempts to use a port to which no host is connected.
pub(crate) const NO_HOST_PAUSE: Duration = Duration::from_millis(20);

/// Queue of messages to the host. Sending never waits for the host.
#[derive(Clone)]
pub(crate) struct Outbox(Sender<Queued>);

enum Queued {
    Message(Box<FromGuest>),
    /// Answered when all messages before it were handed to the host.
    Flush(Sender<()>),
}

impl Outbox {
    /// Starts the thread that writes to `port`. It waits there while no host is connected.
    pub(crate) fn start(port: &File) -> Result<Self, String> {
        let mut port = port.try_clone().map_err(|e| format!("control port: {e}"))?;
        let (sender, queue) = channel();
        let deliver = move || deliver(&queue, &mut port);
        std::thread::Builder::new().name("outbox".into()).spawn(deliver).map_err(|e| e.to_string())?;
        Ok(Self(sender))
    }

    /// An outbox whose messages are received by a test.
    #[cfg(test)]
    pub(crate) fn into_channel() -> (Self, Receiver<FromGuest>) {
        let (sender, queue) = channel();
        let (messages, taken) = channel();
        std::thread::spawn(move || {
            for item in queue {
                if let Queued::Message(message) = item {
                    let _ = messages.send(*message);
                }
            }
        });
        (Self(sender), taken)
    }

    /// Queues a message.
    pub(crate) fn send(&self, message: FromGuest) {
        // The receiver lives as long as the process.
        let _ = self.0.send(Queued::Message(Box::new(message)));
    }

    /// Reports an error to the host.
    pub(crate) fn report_error(&self, what: String) {
        self.send(FromGuest::Trouble { what });
    }

    /// Waits until everything sent so far has reached the host, at most `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let (done, wait) = channel();
        if self.0.send(Queued::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn deliver(queue: &Receiver<Queued>, port: &mut impl Write) {
    for item in queue {
        match item {
            Queued::Message(message) => {
                let Ok(mut line) = serde_json::to_vec(&message) else { continue };
                line.push(b'\n');
                while port.write_all(&line).is_err() {
                    // The port goes away only when it is unplugged; every other error is temporary.
                    std::thread::sleep(NO_HOST_PAUSE);
                }
            }
            Queued::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_one_per_line() {
        let (sender, queue) = channel();
        let outbox = Outbox(sender);
        outbox.send(FromGuest::Ack { number: 1 });
        outbox.report_error("a\nb".into());
        drop(outbox);
        let mut port = Vec::new();
        deliver(&queue, &mut port);
        let text = String::from_utf8(port).expect("text");
        let messages: Vec<FromGuest> =
            text.lines().map(|l| serde_json::from_str(l).expect("a message")).collect();
        assert_eq!(messages, [FromGuest::Ack { number: 1 }, FromGuest::Trouble { what: "a\nb".into() }]);
    }
}
