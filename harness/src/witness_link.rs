//! The protocol with the witness inside a guest, and the host's own record of the acknowledgements.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8Path;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};
use witness::ledger::RecordNumber;
use witness::protocol::{Findings, FromGuest, Hello, Load, Measure, Measured, ToGuest};

use crate::lines::{BoundedLines, LONGEST_LINE, Line};
use crate::qmp::lock;
use crate::{Error, Result};

/// Most acknowledgements that are kept, and the highest number that one can have. The workload of
/// the scenarios writes as many in six hours.
const MOST_RECORDS: u64 = 1 << 19;
/// Most measurements of one boot.
const MOST_MEASURED: usize = 4096;
/// Most commands of different names that can be done.
const MOST_COMMANDS: usize = 64;
/// Most characters of what a guest said that are shown.
const MOST_SHOWN: usize = 400;

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
    /// How often each command was done.
    done: BTreeMap<String, u64>,
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
        let times = |state: &WitnessState| state.done.get(&name).copied().unwrap_or_default();
        let before = times(&self.state.borrow());
        self.ask(command).await?;
        self.until(|state| (times(state) > before).then_some(())).await
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
    let mut lines = BoundedLines::new(reader);
    while let Some(line) = lines.next().await {
        let heard = Instant::now();
        let message = match understand(&line) {
            Ok(message) => message,
            // Before the witness runs, firmware and kernel may write arbitrary bytes to the port.
            Err(_) if sender.borrow().hello.is_none() => continue,
            Err(what) => FromGuest::Trouble { what },
        };
        if let FromGuest::Ack { number } = message {
            let mut acks = lock(&acks);
            if !(1..=MOST_RECORDS).contains(&number) || acks.len() as u64 >= MOST_RECORDS {
                let what = format!("acknowledged record {number} after {} others", acks.len());
                sender.send_modify(|known| note(known, FromGuest::Trouble { what }));
                continue;
            }
            acks.push(Ack { number, heard });
            let line = AckLine { number, heard_ms: heard.duration_since(powered_on).as_millis() };
            let _ = writeln!(file, "{}", serde_json::to_string(&line).unwrap_or_default());
        }
        sender.send_modify(|known| note(known, message));
    }
    let _ = file.flush();
}

/// Reads a message. `Err` says what the guest sent instead.
fn understand(line: &Line<'_>) -> std::result::Result<FromGuest, String> {
    let Line::Whole(line) = line else {
        return Err(format!("sent a line of more than {LONGEST_LINE} bytes"));
    };
    serde_json::from_slice(line).map_err(|error| {
        let text = String::from_utf8_lossy(line);
        let start: String = text.chars().take(MOST_SHOWN).collect();
        format!("sent {start:?}, which is not a message: {error}")
    })
}

/// Keeps what a message says. A guest that sends more than any witness would is in trouble.
fn note(known: &mut WitnessState, message: FromGuest) {
    match message {
        FromGuest::Hello(hello) => {
            known.hello = Some(hello);
            known.hellos += 1;
        }
        FromGuest::Ack { number } => known.last_ack = known.last_ack.max(number),
        FromGuest::Findings(findings) => known.findings = Some(findings),
        FromGuest::Measured(measured) if known.measured.len() < MOST_MEASURED => {
            known.measured.push(measured);
        }
        FromGuest::Measured(_) => in_trouble(known, format!("sent more than {MOST_MEASURED} measurements")),
        FromGuest::Done { command } => {
            if known.done.contains_key(&command) || known.done.len() < MOST_COMMANDS {
                *known.done.entry(command).or_default() += 1;
            } else {
                in_trouble(known, format!("did more than {MOST_COMMANDS} different commands"));
            }
        }
        FromGuest::Trouble { what } => in_trouble(known, what),
        FromGuest::Down => known.down = true,
    }
}

/// Keeps the first error that the witness reported.
fn in_trouble(known: &mut WitnessState, what: String) {
    known.trouble.get_or_insert(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link to a guest that sends this and goes.
    async fn heard(sent: Vec<u8>) -> (WitnessLink, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (host, mut guest) = UnixStream::pair().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let link = WitnessLink::new("shop", host, path, Instant::now()).unwrap();
        guest.write_all(&sent).await.unwrap();
        drop(guest);
        let mut state = link.state.clone();
        while state.changed().await.is_ok() {}
        (link, dir)
    }

    const HELLO: &str = r#"{"say":"hello","protocol":1,"agent_version":"","uptime_ms":1,"boot_id":"","kernel":"","vendor":"","product":"","chassis_tag":"","firmware":"bios","boot_drivers":[],"disks":[],"nics":[]}"#;

    #[tokio::test]
    async fn noise_before_the_hello_is_ignored_and_acknowledgements_are_kept_in_order() {
        let mut sent = vec![0xff; LONGEST_LINE + 10];
        sent.extend(format!("\nnoise\n{HELLO}\n").bytes());
        for number in 1..=3 {
            sent.extend(format!("{{\"say\":\"ack\",\"number\":{number}}}\n").bytes());
        }
        let (link, dir) = heard(sent).await;
        assert_eq!(link.trouble(), None);
        assert!(link.hello().await.is_ok());
        assert_eq!(link.acks().iter().map(|ack| ack.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(std::fs::read_to_string(dir.path().join("acks.jsonl")).unwrap().lines().count(), 3);
    }

    #[tokio::test]
    async fn a_guest_that_sends_what_no_witness_would_is_in_trouble_and_takes_no_memory() {
        let ack = |number: u64| format!("{{\"say\":\"ack\",\"number\":{number}}}\n");
        let long = format!("{}\n", "x".repeat(LONGEST_LINE + 1));
        let commands: String = (0..=MOST_COMMANDS)
            .map(|number| format!("{{\"say\":\"done\",\"command\":\"{number}\"}}\n"))
            .collect();
        let measured = "{\"say\":\"measured\",\"writes\":1,\"took_us\":1}\n".repeat(MOST_MEASURED + 1);
        for (sent, words) in [
            (ack(MOST_RECORDS + 1), "acknowledged record"),
            (ack(0), "acknowledged record 0"),
            (ack(1).repeat(MOST_RECORDS as usize + 1), "after 524288 others"),
            (long, "a line of more than"),
            ("\u{7}\n".repeat(1000), "not a message"),
            (format!("{}\n", "é".repeat(1000)), "not a message"),
            (commands, "different commands"),
            (measured, "measurements"),
        ] {
            let (link, _dir) = heard(format!("{HELLO}\n{sent}").into_bytes()).await;
            let trouble = link.trouble().unwrap_or_default();
            assert!(trouble.contains(words) && trouble.len() < 4 * MOST_SHOWN, "{words}: {trouble}");
            assert!(link.acks().len() as u64 <= MOST_RECORDS);
        }
    }
}
