//! The disks of the open snapshot, and the readers connected to them.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::changes::Chunks;

use super::sync::{Condvar, Mutex, lock};

/// Time limit for readers to close their devices after their connections were cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(20);

/// One disk of a snapshot.
#[derive(Debug)]
pub(crate) struct ExportedDisk {
    /// Its serial number, which names the export.
    pub(crate) serial: String,
    /// The device that provides its content.
    pub(crate) node: PathBuf,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// The changed chunks, if they are known.
    pub(crate) changed: Option<Chunks>,
}

/// The open snapshot and its readers.
#[derive(Default)]
pub(crate) struct Exports {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    disks: Vec<Arc<ExportedDisk>>,
    callers: BTreeMap<u64, TcpStream>,
    next: u64,
}

/// Registration of a reader that may have a device open; dropping it removes the reader.
pub(crate) struct Registration<'a> {
    exports: &'a Exports,
    number: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        lock(&self.exports.state).callers.remove(&self.number);
        self.exports.left.notify_all();
    }
}

impl Exports {
    /// Starts to export disks.
    pub(crate) fn show(&self, disks: Vec<ExportedDisk>) {
        lock(&self.state).disks = disks.into_iter().map(Arc::new).collect();
    }

    /// Stops to export disks, and returns once no reader has a device open.
    pub(crate) fn hide(&self) -> Result<(), String> {
        let mut state = lock(&self.state);
        state.disks.clear();
        for caller in state.callers.values() {
            // Fails if the reader has already gone.
            let _ = caller.shutdown(Shutdown::Both);
        }
        let waited = self.left.wait_timeout_while(state, CLOSE_WITHIN, |state| !state.callers.is_empty());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.callers.len() {
            0 => Ok(()),
            left => Err(format!("{left} readers do not close the disks of the snapshot")),
        }
    }

    /// Registers a reader.
    pub(crate) fn register(&self, caller: &TcpStream) -> std::io::Result<Registration<'_>> {
        let caller = caller.try_clone()?;
        let mut state = lock(&self.state);
        state.next += 1;
        let number = state.next;
        state.callers.insert(number, caller);
        Ok(Registration { exports: self, number })
    }

    /// The disk with this serial number.
    pub(crate) fn find(&self, serial: &str) -> Option<Arc<ExportedDisk>> {
        lock(&self.state).disks.iter().find(|disk| disk.serial == serial).cloned()
    }

    /// Serial numbers of all disks.
    pub(crate) fn serials(&self) -> Vec<String> {
        lock(&self.state).disks.iter().map(|disk| disk.serial.clone()).collect()
    }
}
