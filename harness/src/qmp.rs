//! A QMP monitor: commands, events, and a log of both.
//!
//! The suite opens a monitor of its own beside libvirt's for each guest and storage daemon. End of
//! file on that connection is the first reliable sign that the process has ended; every wait races
//! it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, broadcast, oneshot, watch};

use crate::lines::{BoundedLines, Line};
use crate::{Ending, Error, Result};

/// Time limit for the answer to any command. All commands answer quickly; long work runs as jobs.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Most bytes of a message of QEMU, which a hostile guest may have taken over.
const LONGEST_MESSAGE: usize = 16 << 20;

/// Writes that the host's disk had no space for, by the events of a process.
type Unwritten = Arc<AtomicU64>;
type Pending = Arc<std::sync::Mutex<std::collections::HashMap<u64, oneshot::Sender<Value>>>>;

/// A connected monitor.
#[derive(Debug)]
pub struct Monitor {
    name: String,
    pid: Option<i32>,
    process: Option<OwnedFd>,
    writer: Mutex<OwnedWriteHalf>,
    log: Arc<std::sync::Mutex<std::fs::File>>,
    next_id: AtomicU64,
    pending: Pending,
    events: broadcast::Sender<Arc<Value>>,
    gone: watch::Receiver<Option<Instant>>,
    ending: Arc<Ending>,
    unwritten: Unwritten,
}

impl Monitor {
    /// Negotiates QMP on a new connection from a process's monitor. `log` receives every line in
    /// both directions.
    ///
    /// # Errors
    /// The log cannot be written, or the other side does not speak QMP.
    pub async fn greet(name: &str, stream: UnixStream, log: &Utf8Path) -> Result<Arc<Self>> {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        // It is the other side's, which answers below: an id is reused only after its end.
        let process = pid.and_then(Pid::from_raw).and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
        let log_file =
            std::fs::OpenOptions::new().create(true).append(true).open(log).map_err(Error::file(log))?;
        let log = Arc::new(std::sync::Mutex::new(log_file));
        let (reader, writer) = stream.into_split();
        let (events, _) = broadcast::channel(1024);
        let (gone_sender, gone) = watch::channel(None);
        let pending = Pending::default();
        let unwritten = Unwritten::default();
        let ending = Arc::new(Ending::of(name));
        let heard = Heard {
            log: Arc::clone(&log),
            pending: Arc::clone(&pending),
            events: events.clone(),
            unwritten: Arc::clone(&unwritten),
            ending: Arc::clone(&ending),
        };
        tokio::spawn(heard.read_lines(reader, gone_sender));
        let monitor = Arc::new(Self {
            name: name.to_owned(),
            pid,
            process,
            writer: Mutex::new(writer),
            log,
            next_id: AtomicU64::new(1),
            pending,
            events,
            gone,
            ending,
            unwritten,
        });
        monitor.execute("qmp_capabilities", json!({})).await?;
        Ok(monitor)
    }

    /// Process id of the other side, if the kernel reported it.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Kills the other side with all requests in flight. Only that process, also if its id was
    /// reused meanwhile.
    ///
    /// # Errors
    /// The kernel did not report the process, or it has ended.
    pub fn kill(&self) -> std::io::Result<()> {
        let unknown = || std::io::Error::other("no process is known at the other end of the monitor");
        let process = self.process.as_ref().ok_or_else(unknown)?;
        self.ending.explain();
        Ok(pidfd_send_signal(process, Signal::KILL)?)
    }

    /// The end of the other side.
    #[must_use]
    pub fn ending(&self) -> &Arc<Ending> {
        &self.ending
    }

    /// How many writes the host's disk had no space for so far. A guest stops at such a write.
    #[must_use]
    pub fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::SeqCst)
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Arc<Value>> {
        self.events.subscribe()
    }

    /// Whether the other side has closed the connection.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone_at().is_some()
    }

    /// When the other side closed the connection; `None` if it has not.
    #[must_use]
    pub fn gone_at(&self) -> Option<Instant> {
        *self.gone.borrow()
    }

    /// Returns once the other side has closed the connection.
    pub async fn until_gone(&self) {
        let mut gone = self.gone.clone();
        // An error means that the reader task ended without a message, which also means gone.
        let _ = gone.wait_for(Option::is_some).await;
    }

    /// Runs one command and returns its result.
    ///
    /// # Errors
    /// QEMU refused, died, or did not answer.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        let fail = |reason: String| Error::Qmp {
            monitor: self.name.clone(),
            command: format!("{command} {arguments}"),
            reason,
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.pending).insert(id, sender);
        let _awaited = Awaited { pending: &self.pending, id };
        let mut line = json!({"execute": command, "arguments": arguments, "id": id}).to_string();
        line.push('\n');
        write_log(&self.log, '>', line.trim_end());
        let sent = self.writer.lock().await.write_all(line.as_bytes()).await;
        sent.map_err(|error| fail(format!("the monitor is closed ({error})")))?;
        let answer = tokio::select! {
            answer = answer => answer.map_err(|_| fail("the process ended".to_owned()))?,
            () = tokio::time::sleep(ANSWER_WITHIN) => {
                return Err(fail(format!("no answer within {ANSWER_WITHIN:?}")));
            }
        };
        if let Some(error) = answer.get("error") {
            return Err(fail(error["desc"].as_str().unwrap_or("unknown error").to_owned()));
        }
        Ok(answer["return"].clone())
    }

    /// Waits for the first event in `events` that `wanted` accepts. Subscribe before causing the
    /// event, which has to be one that QEMU causes alone.
    ///
    /// # Errors
    /// The process died, or the bound ran out.
    pub async fn await_event(
        &self,
        events: &mut broadcast::Receiver<Arc<Value>>,
        what: &str,
        bound: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Arc<Value>> {
        let mut seen = Vec::new();
        let search = async {
            loop {
                match events.recv().await {
                    Ok(event) if wanted(&event) => return Some(event),
                    Ok(event) => seen.push(event["event"].as_str().unwrap_or("?").to_owned()),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        };
        let found = tokio::select! {
            biased;
            found = search => found,
            () = self.until_gone() => None,
            () = tokio::time::sleep(bound) => {
                let awaited = format!("{}: {what}", self.name);
                return Err(Error::HostTimedOut { awaited, bound, seen: seen.join(", ") });
            }
        };
        found.ok_or_else(|| Error::Died {
            who: self.name.clone(),
            awaited: what.to_owned(),
            last_words: seen.join(", "),
        })
    }

    /// Starts a block job with `command` and waits until it has ended and left the job list.
    ///
    /// # Errors
    /// QEMU refused, or the job failed; the message is the job's own.
    pub async fn run_job(&self, id: &str, command: &str, arguments: Value, bound: Duration) -> Result<()> {
        let mut events = self.events();
        self.execute(command, arguments).await?;
        let concluded = |event: &Value, status: &str| {
            event["event"] == "JOB_STATUS_CHANGE"
                && event["data"]["id"] == id
                && event["data"]["status"] == status
        };
        self.await_event(&mut events, &format!("job {id}"), bound, |e| {
            concluded(e, "concluded") || concluded(e, "null")
        })
        .await?;
        self.dismiss(id).await
    }

    /// Removes a concluded job from the list and returns its error, if it ended with one.
    ///
    /// # Errors
    /// The error of the job.
    pub async fn dismiss(&self, id: &str) -> Result<()> {
        let jobs = self.execute("query-jobs", json!({})).await?;
        let Some(job) = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == id)) else {
            return Ok(());
        };
        let error = job["error"].as_str().map(ToOwned::to_owned);
        self.execute("job-dismiss", json!({"id": id})).await?;
        match error {
            Some(reason) => {
                Err(Error::Qmp { monitor: self.name.clone(), command: format!("job {id}"), reason })
            }
            None => Ok(()),
        }
    }
}

/// A command that waits for its answer. Nobody waits for it any more once this is dropped.
struct Awaited<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        lock(self.pending).remove(&self.id);
    }
}

/// Where what a process says goes.
struct Heard {
    log: Arc<std::sync::Mutex<std::fs::File>>,
    pending: Pending,
    events: broadcast::Sender<Arc<Value>>,
    unwritten: Unwritten,
    ending: Arc<Ending>,
}

impl Heard {
    async fn read_lines(self, reader: OwnedReadHalf, gone: watch::Sender<Option<Instant>>) {
        let mut lines = BoundedLines::with_limit(reader, LONGEST_MESSAGE);
        while let Some(line) = lines.next().await {
            let Line::Whole(line) = line else { continue };
            let line = String::from_utf8_lossy(line);
            write_log(&self.log, '<', &line);
            let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
            if message.get("event").is_some() {
                self.ending.hear(&message);
                self.unwritten.fetch_add(u64::from(found_no_space(&message)), Ordering::SeqCst);
                // It is fine if there is no subscriber.
                let _ = self.events.send(Arc::new(message));
            } else if let Some(reply_to) =
                message["id"].as_u64().and_then(|id| lock(&self.pending).remove(&id))
            {
                let _ = reply_to.send(message);
            }
        }
        lock(&self.pending).clear();
        self.ending.mark_gone();
        let _ = gone.send(Some(Instant::now()));
    }
}

/// Whether an event says that the host's disk had no space for a write.
fn found_no_space(event: &Value) -> bool {
    event["event"] == "BLOCK_IO_ERROR" && event["data"]["nospace"] == true
}

fn write_log(log: &std::sync::Mutex<std::fs::File>, sign: char, line: &str) {
    use std::io::Write as _;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // A full disk is reported elsewhere; a monitor must not fail because of its log.
    let _ = writeln!(lock(log), "{}.{:03} {sign} {line}", now.as_secs(), now.subsec_millis());
}

/// Locks a mutex, ignoring poison: the data is consistent at every step, so a panic while it was
/// locked does no harm.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_for_lack_of_space_counts() {
        let event = |name: &str, nospace: bool| json!({"event": name, "data": {"nospace": nospace}});
        assert!(found_no_space(&event("BLOCK_IO_ERROR", true)));
        assert!(!found_no_space(&event("BLOCK_IO_ERROR", false)));
        assert!(!found_no_space(&event("STOP", true)));
        assert!(!found_no_space(&json!({"event": "BLOCK_IO_ERROR"})));
    }

    /// The other side of a monitor: greets, and then answers nothing but the negotiation.
    async fn answer_only_negotiation(stream: UnixStream) {
        let (reader, mut writer) = stream.into_split();
        writer.write_all(b"{\"QMP\": {}}\n").await.expect("the monitor reads");
        let mut lines = BoundedLines::with_limit(reader, LONGEST_MESSAGE);
        while let Some(line) = lines.next().await {
            let Line::Whole(line) = line else { continue };
            let command: Value = serde_json::from_slice(line).expect("a command");
            if command["execute"] == "qmp_capabilities" {
                let answer = json!({"return": {}, "id": command["id"]}).to_string() + "\n";
                writer.write_all(answer.as_bytes()).await.expect("the monitor reads");
            }
        }
    }

    /// A monitor whose other side says nothing. Its log is in `dir`.
    async fn silent(dir: &tempfile::TempDir) -> Arc<Monitor> {
        let log = Utf8Path::from_path(dir.path()).expect("UTF-8").join("qmp.log");
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        tokio::spawn(answer_only_negotiation(theirs));
        Monitor::greet("guest", ours, &log).await.expect("it greets")
    }

    #[tokio::test]
    async fn an_event_that_does_not_come_is_the_hosts_doing() {
        let dir = tempfile::tempdir().expect("a directory");
        let monitor = silent(&dir).await;
        let mut events = monitor.events();
        let came = monitor.await_event(&mut events, "the end of a job", Duration::ZERO, |_| true).await;
        assert!(matches!(came, Err(Error::HostTimedOut { .. })), "{came:?}");
    }

    #[tokio::test]
    async fn nothing_remains_of_a_command_whose_caller_stops_waiting() {
        let dir = tempfile::tempdir().expect("a directory");
        let monitor = silent(&dir).await;

        let command = monitor.execute("query-status", json!({}));
        tokio::time::timeout(Duration::ZERO, command).await.expect_err("nobody answers");

        assert!(lock(&monitor.pending).is_empty());
    }
}
