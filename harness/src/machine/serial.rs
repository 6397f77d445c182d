//! A guest's serial console: saved to a file, and searched for a kernel's fatal messages.

use std::io::Write as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::{Error, Result};

/// Messages of a guest that will not come up; each is final.
const FATAL_MESSAGES: [&str; 2] = ["Kernel panic", "ROUNDTRIP-NO-ROOT"];

/// Message of a guest that has started all boot services.
const STARTED: &str = images::layout::STARTED_LINE;

/// The console of one guest.
#[derive(Debug)]
pub struct Serial {
    path: Utf8PathBuf,
    state: watch::Receiver<ConsoleState>,
}

/// Console messages that a caller may wait for.
#[derive(Debug, Default)]
struct ConsoleState {
    gave_up: Option<String>,
    started: bool,
}

impl Serial {
    /// Copies `stream` into a file at `path` until it ends.
    pub(crate) fn follow(mut stream: UnixStream, path: &Utf8Path) -> Result<Self> {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(Error::file(path))?;
        let (sender, state) = watch::channel(ConsoleState::default());
        tokio::spawn(async move {
            let mut line = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                // A full disk is reported elsewhere.
                let _ = file.write_all(&buffer[..count]);
                for &byte in &buffer[..count] {
                    if byte == b'\n' {
                        record_line(&line, &sender);
                        line.clear();
                    } else {
                        line.push(byte);
                    }
                }
            }
        });
        Ok(Self { path: path.to_owned(), state })
    }

    /// Waits for the line with which the guest gave up, and returns it.
    pub async fn until_gave_up(&self) -> String {
        self.until(|state| state.gave_up.clone()).await
    }

    /// Waits until the guest has started all boot services.
    pub async fn until_started(&self) {
        self.until(|state| state.started.then_some(())).await;
    }

    async fn until<T>(&self, wanted: impl Fn(&ConsoleState) -> Option<T>) -> T {
        let mut state = self.state.clone();
        let found =
            state.wait_for(|state| wanted(state).is_some()).await.ok().and_then(|state| wanted(&state));
        match found {
            Some(found) => found,
            // The console closed: the caller learns of the guest's death elsewhere.
            None => std::future::pending().await,
        }
    }

    /// The last lines, for use in an error message.
    #[must_use]
    pub fn tail(&self) -> String {
        tail_of(&self.path)
    }
}

fn record_line(line: &[u8], sender: &watch::Sender<ConsoleState>) {
    let line = String::from_utf8_lossy(line);
    let gave_up = FATAL_MESSAGES.iter().any(|words| line.contains(words));
    let started = line.contains(STARTED);
    sender.send_if_modified(|state| {
        let changed = (gave_up && state.gave_up.is_none()) || (started && !state.started);
        if gave_up {
            state.gave_up.get_or_insert_with(|| line.trim().to_owned());
        }
        state.started |= started;
        changed
    });
}

/// The last three lines of a log, on one line.
pub(crate) fn tail_of(path: &Utf8Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

/// A shared handle.
pub(crate) type SharedSerial = Arc<Serial>;
