//! What the disk server shows: the disks of the open view, to callers that can be sent away.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::changes::Chunks;
use crate::lock;

/// How long callers may take to let go of their devices once their connections are cut.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// One frozen disk.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// Its serial number, which names the export.
    pub(crate) serial: String,
    /// The device that shows its content.
    pub(crate) node: PathBuf,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// What changed, if that can be told.
    pub(crate) changed: Option<Chunks>,
}

/// The open view and everybody who reads it.
#[derive(Default)]
pub(crate) struct Exports {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    disks: Vec<Arc<Frozen>>,
    callers: BTreeMap<u64, TcpStream>,
    next: u64,
}

/// A caller's place in the list, for as long as it may hold a device open.
pub(crate) struct Place<'a> {
    exports: &'a Exports,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.exports.state).callers.remove(&self.number);
        self.exports.left.notify_all();
    }
}

impl Exports {
    /// Shows disks.
    pub(crate) fn show(&self, disks: Vec<Frozen>) {
        lock(&self.state).disks = disks.into_iter().map(Arc::new).collect();
    }

    /// Shows nothing more, and returns once nobody holds a device open.
    pub(crate) fn hide(&self) -> Result<(), String> {
        let mut state = lock(&self.state);
        state.disks.clear();
        for caller in state.callers.values() {
            // One that has gone away needs no sending.
            let _ = caller.shutdown(Shutdown::Both);
        }
        let waited = self.left.wait_timeout_while(state, GONE_WITHIN, |state| !state.callers.is_empty());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.callers.len() {
            0 => Ok(()),
            left => Err(format!("{left} readers do not let go of the frozen disks")),
        }
    }

    /// Notes a caller.
    pub(crate) fn enter(&self, caller: &TcpStream) -> std::io::Result<Place<'_>> {
        let caller = caller.try_clone()?;
        let mut state = lock(&self.state);
        state.next += 1;
        let number = state.next;
        state.callers.insert(number, caller);
        Ok(Place { exports: self, number })
    }

    /// The frozen disk with this serial number.
    pub(crate) fn find(&self, serial: &str) -> Option<Arc<Frozen>> {
        lock(&self.state).disks.iter().find(|disk| disk.serial == serial).cloned()
    }

    /// Serial numbers of all frozen disks.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.state).disks.iter().map(|disk| disk.serial.clone()).collect()
    }
}
