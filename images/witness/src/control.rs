//! The control channel: JSON lines over a virtio-serial port.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use witness::protocol::{CONTROL_PORT, FromGuest, ToGuest};

use crate::engine::Engine;
use crate::pause_gate::Holder;
use crate::{lock, machine};

/// Longest line that a host may send, in bytes.
const LONGEST_LINE: usize = 64 * 1024;
/// How often a port without a host is looked at.
const NO_HOST_PAUSE: Duration = Duration::from_millis(20);

/// Opens the control port; the kernel lets a port be opened once.
pub(crate) fn open() -> Result<File, String> {
    let path = format!("/dev/virtio-ports/{CONTROL_PORT}");
    OpenOptions::new().read(true).write(true).open(&path).map_err(|e| format!("cannot open {path}: {e}"))
}

/// Where all words to the host go. Saying something never waits for the host.
#[derive(Clone)]
pub(crate) struct Outbox(Sender<Letter>);

enum Letter {
    Word(Box<FromGuest>),
    /// Told when everything before it was handed to the host.
    Flush(Sender<()>),
}

impl Outbox {
    /// Starts the thread that writes to `port`, which waits there while no host listens.
    pub(crate) fn start(port: &File) -> Result<Self, String> {
        let mut port = port.try_clone().map_err(|e| format!("control port: {e}"))?;
        let (sender, letters) = channel();
        let deliver = move || deliver(&letters, &mut port);
        std::thread::Builder::new().name("outbox".into()).spawn(deliver).map_err(|e| e.to_string())?;
        Ok(Self(sender))
    }

    /// An outbox whose words are taken by a test.
    #[cfg(test)]
    pub(crate) fn into_channel() -> (Self, Receiver<FromGuest>) {
        let (sender, letters) = channel();
        let (words, taken) = channel();
        std::thread::spawn(move || {
            for letter in letters {
                if let Letter::Word(word) = letter {
                    let _ = words.send(*word);
                }
            }
        });
        (Self(sender), taken)
    }

    /// Sends a word.
    pub(crate) fn say(&self, word: FromGuest) {
        // The receiver lives as long as the process.
        let _ = self.0.send(Letter::Word(Box::new(word)));
    }

    /// Reports trouble.
    pub(crate) fn trouble(&self, what: String) {
        self.say(FromGuest::Trouble { what });
    }

    /// Waits until everything said so far has reached the host, at most `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let (done, wait) = channel();
        if self.0.send(Letter::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(patience);
        }
    }
}

fn deliver(letters: &Receiver<Letter>, port: &mut impl Write) {
    for letter in letters {
        match letter {
            Letter::Word(word) => {
                let Ok(mut line) = serde_json::to_vec(&word) else { continue };
                line.push(b'\n');
                while port.write_all(&line).is_err() {
                    // The port goes away only when it is unplugged; until then every error passes.
                    std::thread::sleep(NO_HOST_PAUSE);
                }
            }
            Letter::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

/// Carries out the host's commands, one after the other, for ever.
pub(crate) fn listen(port: File, outbox: &Outbox, engine: &Arc<Mutex<Engine>>) -> Result<(), String> {
    let mut port = BufReader::new(port);
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        match port.read(&mut byte) {
            Ok(0) => std::thread::sleep(NO_HOST_PAUSE),
            Ok(_) if byte[0] == b'\n' => {
                obey(&std::mem::take(&mut line), outbox, engine);
            }
            Ok(_) if line.len() < LONGEST_LINE => line.push(byte[0]),
            Ok(_) => {}
            Err(e) => return Err(format!("control port: {e}")),
        }
    }
}

fn obey(line: &[u8], outbox: &Outbox, engine: &Arc<Mutex<Engine>>) {
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    match serde_json::from_slice::<ToGuest>(line) {
        Err(e) => outbox.trouble(format!("not understood: {e}: {}", String::from_utf8_lossy(line))),
        Ok(command) => {
            if let Some(word) =
                carry_out(command, engine).unwrap_or_else(|what| Some(FromGuest::Trouble { what }))
            {
                outbox.say(word);
            }
        }
    }
}

/// Carries out one command and returns the answer it has.
fn carry_out(command: ToGuest, engine: &Arc<Mutex<Engine>>) -> Result<Option<FromGuest>, String> {
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
        ToGuest::Quiesce => engine.quiesce(Holder::Host).and_then(|()| done("quiesce")),
        ToGuest::Thaw => {
            engine.thaw(Holder::Host);
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_in_order_one_a_line() {
        let (sender, letters) = channel();
        let outbox = Outbox(sender);
        outbox.say(FromGuest::Ack { number: 1 });
        outbox.trouble("a\nb".into());
        drop(outbox);
        let mut port = Vec::new();
        deliver(&letters, &mut port);
        let text = String::from_utf8(port).expect("text");
        let words: Vec<FromGuest> = text.lines().map(|l| serde_json::from_str(l).expect("a word")).collect();
        assert_eq!(words, [FromGuest::Ack { number: 1 }, FromGuest::Trouble { what: "a\nb".into() }]);
    }
}
