//! The protocol with the witness inside a guest, and the host's own record of the acknowledgements.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8Path;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};
use witness::ledger::RecordNumber;
use witness::protocol::{Findings, FromGuest, Hello, Load, Measure, Measured, ToGuest};

use crate::qmp::lock;
use crate::{Error, Result};

/// An acknowledgement of a record as received by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The record that is durable.
    pub number: RecordNumber,
    /// When the host received it.
    pub heard: Instant,
}

/// Everything received from the witness so far; every change wakes all waiters.
#[derive(Clone, Debug, Default)]
struct WitnessState {
    hello: Option<Hello>,
    /// Number of hellos so far.
    hellos: u64,
    findings: Option<Findings>,
    measured: Vec<Measured>,
    done: Vec<String>,
    trouble: Option<String>,
    last_ack: RecordNumber,
    down: bool,
}

/// The host's end of the control channel.
#[derive(Debug)]
pub struct WitnessLink {
    machine: String,
    writer: Mutex<OwnedWriteHalf>,
    state: watch::Receiver<WitnessState>,
    acks: Arc<std::sync::Mutex<Vec<Ack>>>,
}

#[derive(Serialize)]
struct AckLine {
    number: RecordNumber,
    /// Milliseconds since power-on.
    heard_ms: u128,
}

impl WitnessLink {
    /// Receives the witness's messages from `stream`; acknowledgements are also written to a file
    /// in `dir`, with the time since `powered_on`.
    pub(crate) fn new(
        machine: &str,
        stream: UnixStream,
        dir: &Utf8Path,
        powered_on: Instant,
    ) -> Result<Self> {
        let (reader, writer) = stream.into_split();
        let (sender, state) = watch::channel(WitnessState::default());
        let acks = Arc::new(std::sync::Mutex::new(Vec::new()));
        let path = dir.join("acks.jsonl");
        let file = std::fs::File::create(&path).map_err(Error::file(&path))?;
        let file = std::io::BufWriter::new(file);
        tokio::spawn(listen(reader, sender, Arc::clone(&acks), file, powered_on));
        Ok(Self { machine: machine.to_owned(), writer: Mutex::new(writer), state, acks })
    }

    /// Waits for the witness's description of its machine.
    ///
    /// # Errors
    /// The witness reported an error.
    pub async fn hello(&self) -> Result<Hello> {
        self.until(|state| state.hello.clone()).await
    }

    /// Asks the witness for a new description of its machine: network addresses are assigned after
    /// the first hello.
    ///
    /// # Errors
    /// As [`WitnessLink::check`].
    pub async fn hello_again(&self) -> Result<Hello> {
        let before = self.state.borrow().hellos;
        self.ask(&ToGuest::Hello).await?;
        self.until(|state| if state.hellos > before { state.hello.clone() } else { None }).await
    }

    /// Asks the witness to check all its data, and returns its findings.
    ///
    /// # Errors
    /// The witness reported an error, or its channel is closed.
    pub async fn check(&self) -> Result<Findings> {
        self.ask(&ToGuest::Check).await?;
        self.until(|state| state.findings.clone()).await
    }

    /// Measures how fast the data disk accepts writes; returns when the measurement is complete.
    ///
    /// # Errors
    /// As [`WitnessLink::check`].
    pub async fn measure(&self, wanted: Measure) -> Result<Measured> {
        let before = self.state.borrow().measured.len();
        self.ask(&ToGuest::Measure(wanted)).await?;
        self.until(|state| state.measured.get(before).copied()).await
    }

    /// Starts the workload.
    ///
    /// # Errors
    /// As [`WitnessLink::check`].
    pub async fn start(&self, load: &Load) -> Result<()> {
        self.ask(&ToGuest::Start(load.clone())).await
    }

    /// Sends a command and waits until the witness reports it done.
    ///
    /// # Errors
    /// As [`WitnessLink::check`].
    pub async fn command(&self, command: &ToGuest) -> Result<()> {
        let name = serde_json::to_value(command).ok().and_then(|v| v["ask"].as_str().map(ToOwned::to_owned));
        let name = name.unwrap_or_default();
        let before = self.state.borrow().done.iter().filter(|done| **done == name).count();
        self.ask(command).await?;
        self.until(|state| (state.done.iter().filter(|done| **done == name).count() > before).then_some(()))
            .await
    }

    /// Informs the guest that record `number` of its neighbour is durable. There is no answer.
    ///
    /// # Errors
    /// The channel is closed.
    pub async fn tell_seen(&self, number: RecordNumber) -> Result<()> {
        self.ask(&ToGuest::Seen { number }).await
    }

    /// Returns once record `number` is acknowledged.
    ///
    /// # Errors
    /// As [`WitnessLink::check`].
    pub async fn acked(&self, number: RecordNumber) -> Result<()> {
        self.until(|state| (state.last_ack >= number).then_some(())).await
    }

    /// Highest record acknowledged so far; 0 if there is none.
    #[must_use]
    pub fn last_ack(&self) -> RecordNumber {
        self.state.borrow().last_ack
    }

    /// Whether the witness reported that its file systems are unmounted.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state.borrow().down
    }

    /// The error that the witness reported, if any.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.state.borrow().trouble.clone()
    }

    /// Every acknowledgement so far, in order.
    #[must_use]
    pub fn acks(&self) -> Vec<Ack> {
        lock(&self.acks).clone()
    }

    async fn ask(&self, message: &ToGuest) -> Result<()> {
        let mut line = serde_json::to_string(message).unwrap_or_default();
        line.push('\n');
        let sent = self.writer.lock().await.write_all(line.as_bytes()).await;
        sent.map_err(|error| self.broken(&format!("the control channel is closed ({error})")))
    }

    async fn until<T>(&self, wanted: impl Fn(&WitnessState) -> Option<T>) -> Result<T> {
        let mut state = self.state.clone();
        loop {
            {
                let now = state.borrow_and_update();
                if let Some(found) = wanted(&now) {
                    return Ok(found);
                }
                if let Some(trouble) = &now.trouble {
                    return Err(self.broken(trouble));
                }
            }
            if state.changed().await.is_err() {
                return Err(self.broken("the control channel closed"));
            }
        }
    }

    fn broken(&self, what: &str) -> Error {
        Error::Witness { machine: self.machine.clone(), what: what.to_owned() }
    }
}

async fn listen(
    reader: OwnedReadHalf,
    sender: watch::Sender<WitnessState>,
    acks: Arc<std::sync::Mutex<Vec<Ack>>>,
    mut file: std::io::BufWriter<std::fs::File>,
    powered_on: Instant,
) {
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let heard = Instant::now();
        let message = match serde_json::from_str::<FromGuest>(&line) {
            Ok(message) => message,
            // Before the witness runs, firmware and kernel may write arbitrary bytes to the port.
            Err(_) if sender.borrow().hello.is_none() => continue,
            Err(error) => {
                FromGuest::Trouble { what: format!("sent {line:?}, which is not a message: {error}") }
            }
        };
        if let FromGuest::Ack { number } = message {
            lock(&acks).push(Ack { number, heard });
            let line = AckLine { number, heard_ms: heard.duration_since(powered_on).as_millis() };
            let _ = writeln!(file, "{}", serde_json::to_string(&line).unwrap_or_default());
        }
        sender.send_modify(|known| note(known, message));
    }
    let _ = file.flush();
}

fn note(known: &mut WitnessState, message: FromGuest) {
    match message {
        FromGuest::Hello(hello) => {
            known.hello = Some(hello);
            known.hellos += 1;
        }
        FromGuest::Ack { number } => known.last_ack = known.last_ack.max(number),
        FromGuest::Findings(findings) => known.findings = Some(findings),
        FromGuest::Measured(measured) => known.measured.push(measured),
        FromGuest::Done { command } => known.done.push(command),
        FromGuest::Trouble { what } => {
            known.trouble.get_or_insert(what);
        }
        FromGuest::Down => known.down = true,
    }
}
