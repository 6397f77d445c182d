//! A short-lived directory for sockets, and the mark that says which process owns it.
//!
//! Unix socket paths are limited to 107 bytes and run directories may be longer, so each test keeps
//! its sockets in a directory of its own under the system's temporary directory. The owner's mark
//! in it, which is also in the metadata of libvirt domains, lets the reaper find what a process
//! that ended left behind.

use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Name of the mark inside a scratch directory.
const MARK: &str = "owner.json";

/// A process, distinguishable from a later one with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Run the process belongs to.
    pub run: String,
    /// Process id.
    pub pid: u32,
    /// Boot id of the host, and start of the process in clock ticks since that boot.
    pub started: String,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn current(run: &str) -> Result<Self> {
        let pid = std::process::id();
        let started = start_of(pid)?.unwrap_or_default();
        Ok(Self { run: run.to_owned(), pid, started })
    }

    /// Whether the process still lives.
    ///
    /// # Errors
    /// `/proc` cannot be read; the caller must then assume that it is alive.
    pub fn is_alive(&self) -> Result<bool> {
        Ok(start_of(self.pid)?.is_some_and(|started| started == self.started))
    }
}

/// Boot id and start tick of a process; `None` if there is no such process or it is a zombie.
fn start_of(pid: u32) -> Result<Option<String>> {
    let boot = "/proc/sys/kernel/random/boot_id";
    let boot = std::fs::read_to_string(boot).map_err(Error::file(boot))?;
    let path = format!("/proc/{pid}/stat");
    let stat = match std::fs::read_to_string(&path) {
        Ok(stat) => stat,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // The process may end between open and read.
        Err(error) if error.raw_os_error() == Some(3) => return Ok(None),
        Err(error) => return Err(Error::file(path)(error)),
    };
    // The command name may contain spaces and brackets, so fields are counted after the last
    // bracket.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next().unwrap_or("Z");
    let start = fields.nth(18).unwrap_or_default();
    Ok((state != "Z").then(|| format!("{}:{start}", boot.trim())))
}

/// The directory that holds all scratch directories of this user.
#[must_use]
pub fn root() -> Utf8PathBuf {
    let uid = rustix::process::getuid().as_raw();
    let base = Utf8PathBuf::from_path_buf(std::env::temp_dir()).unwrap_or_else(|_| "/tmp".into());
    base.join(format!("roundtrip-{uid}"))
}

/// A scratch directory. It is removed when dropped, and with the last one their common root.
#[derive(Debug)]
pub struct Scratch {
    dir: Option<tempfile::TempDir>,
    path: Utf8PathBuf,
    owner: Owner,
    kept: AtomicBool,
}

impl Scratch {
    /// Creates a directory and marks it as owned by this process.
    ///
    /// # Errors
    /// The temporary directory is not writable.
    pub fn new(run: &str) -> Result<Self> {
        let root = root();
        std::fs::create_dir_all(&root).map_err(Error::file(&root))?;
        let dir = tempfile::Builder::new().prefix("t").tempdir_in(&root).map_err(Error::file(&root))?;
        let path = Utf8PathBuf::from_path_buf(dir.path().to_path_buf()).unwrap_or_default();
        let owner = Owner::current(run)?;
        let mark = path.join(MARK);
        let text = serde_json::to_string(&owner).unwrap_or_default();
        std::fs::write(&mark, text).map_err(Error::file(&mark))?;
        Ok(Self { dir: Some(dir), path, owner, kept: AtomicBool::new(false) })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The owner's mark, which everything created with this directory carries.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Leaves the directory in place when this is dropped, for a failed test whose guests are to be
    /// kept.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::SeqCst);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(mut dir) = self.dir.take() {
            dir.disable_cleanup(self.kept.load(Ordering::SeqCst));
        }
        // Fails while other directories are in it, which is intended.
        let _ = std::fs::remove_dir(root());
    }
}

/// The owner's mark in a scratch directory, if there is one and it can be read.
#[must_use]
pub fn mark_in(dir: &Utf8Path) -> Option<Owner> {
    serde_json::from_str(&std::fs::read_to_string(dir.join(MARK)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_alive_and_a_reused_id_is_not() {
        let mut owner = Owner::current("r").unwrap();
        assert!(owner.is_alive().unwrap());
        owner.started.push('0');
        assert!(!owner.is_alive().unwrap());
    }

    #[test]
    fn a_kept_scratch_directory_outlives_its_owner() {
        let scratch = Scratch::new("r").unwrap();
        let path = scratch.path().to_owned();
        scratch.keep();
        drop(scratch);
        assert!(mark_in(&path).is_some());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_scratch_directory_carries_its_mark_and_is_removed_with_its_owner() {
        let scratch = Scratch::new("r").unwrap();
        let path = scratch.path().to_owned();
        assert_eq!(mark_in(&path).as_ref(), Some(scratch.owner()));
        drop(scratch);
        assert!(!path.exists());
    }
}
