//! A guest's serial console: saved to a file, and searched for a kernel's fatal messages.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::complaints::is_complaint;
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
    last_complaint: Option<Complaint>,
}

/// A complaint of the guest's kernel that it does not get to run.
#[derive(Clone, Debug)]
pub(crate) struct Complaint {
    pub(crate) line: String,
    pub(crate) heard: Instant,
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

    /// The last complaint of the guest's kernel that it does not get to run; `None` if there was
    /// none.
    pub(crate) fn last_complaint(&self) -> Option<Complaint> {
        self.state.borrow().last_complaint.clone()
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
    let complains = is_complaint(&line);
    sender.send_if_modified(|state| {
        let changed = (gave_up && state.gave_up.is_none()) || (started && !state.started) || complains;
        if complains {
            state.last_complaint = Some(Complaint { line: line.trim().to_owned(), heard: Instant::now() });
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a console with this text says.
    fn console(text: &str) -> (Option<String>, bool, Option<String>) {
        let (sender, state) = watch::channel(ConsoleState::default());
        text.split('\n').for_each(|line| record_line(line.as_bytes(), &sender));
        let state = state.borrow();
        let complaint = state.last_complaint.as_ref().map(|complaint| complaint.line.clone());
        (state.gave_up.clone(), state.started, complaint)
    }

    #[test]
    fn a_guest_that_its_host_starves_complains_and_does_not_give_up() {
        let text = "[   41.880012] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]\r\n\
                    [   41.880020] Modules linked in: ata_piix(+)\r\n\
                    [   69.880015] watchdog: BUG: soft lockup - CPU#0 stuck for 48s! [swapper/0:1]\r\n";
        let last = "[   69.880015] watchdog: BUG: soft lockup - CPU#0 stuck for 48s! [swapper/0:1]";
        assert_eq!(console(text), (None, false, Some(last.to_owned())));
    }

    #[test]
    fn a_guest_whose_disk_is_wrong_gives_up_and_complains_of_no_host() {
        let text = "ROUNDTRIP-NO-ROOT drivers: none: no disk carries the root file system\r\n\
                    [    4.031009] Kernel panic - not syncing: Attempted to kill init!\r\n";
        let first = "ROUNDTRIP-NO-ROOT drivers: none: no disk carries the root file system";
        assert_eq!(console(text), (Some(first.to_owned()), false, None));
        assert_eq!(console("ROUNDTRIP-STARTED\r\n"), (None, true, None));
        assert_eq!(console(""), (None, false, None));
    }
}
