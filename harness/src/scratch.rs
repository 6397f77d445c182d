//! A short-lived directory for sockets, and the mark that says which process owns it.
//!
//! Unix socket paths are limited to 107 bytes and run directories may be longer, so each test keeps
//! its sockets in a directory of its own under the system's temporary directory. The owner's mark
//! in it, which is also in the metadata of libvirt domains, lets the reaper find what a process
//! that ended left behind.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Name of the mark inside a scratch directory.
const MARK: &str = "owner.json";

/// How often a directory is tried to make while other runs end.
const MOST_TURNS: u32 = 1000;

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
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
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
        let dir = directory_in(&root).map_err(Error::file(&root))?;
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

/// Makes a directory in the common root, which may be missing.
fn directory_in(root: &Utf8Path) -> io::Result<tempfile::TempDir> {
    // Whoever uses the root last removes it, perhaps between these two calls. Each turn means that
    // another process has finished.
    for _ in 0..MOST_TURNS {
        match DirBuilder::new().mode(0o700).create(root) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let private = Permissions::from_mode(0o700);
        let made = require_own(root)
            .and_then(|()| tempfile::Builder::new().prefix("t").permissions(private).tempdir_in(root));
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Err(io::Error::other("other runs remove it again and again"))
}

/// Fails if another user has made the root: everybody may write where it is.
fn require_own(root: &Utf8Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(root)?;
    if found.is_dir() && found.uid() == rustix::process::getuid().as_raw() {
        return std::fs::set_permissions(root, Permissions::from_mode(0o700));
    }
    Err(io::Error::other("it belongs to another user: remove it, or set TMPDIR to another place"))
}

/// Lets only this user open a socket. Its directory admits nobody else either.
pub(crate) fn only_for_this_user(socket: &Utf8Path) -> Result<()> {
    std::fs::set_permissions(socket, Permissions::from_mode(0o600)).map_err(Error::file(socket))
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

/// How old a scratch directory without a mark is when its owner must have been killed before it
/// could write the mark.
const UNFINISHED: Duration = Duration::from_secs(60);

/// Whether a scratch directory was left half created: it holds nothing but perhaps a part of its
/// mark, and is too old to be in the making.
#[must_use]
pub fn is_unfinished(dir: &Utf8Path) -> bool {
    let age = std::fs::symlink_metadata(dir).and_then(|found| found.modified()).map(|at| at.elapsed());
    let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > UNFINISHED));
    let only_mark = |mut entries: camino::ReadDirUtf8| {
        entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == MARK))
    };
    is_old && mark_in(dir).is_none() && dir.read_dir_utf8().is_ok_and(only_mark)
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
    fn only_this_user_can_enter_and_a_foreign_root_is_refused() {
        let scratch = Scratch::new("r").unwrap();
        for dir in [scratch.path(), &root()] {
            assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700, "{dir}");
        }
        let place = tempfile::tempdir().unwrap();
        let place = Utf8Path::from_path(place.path()).unwrap();
        std::fs::create_dir(place.join("real")).unwrap();
        std::os::unix::fs::symlink(place.join("real"), place.join("link")).unwrap();
        assert!(directory_in(&place.join("link")).is_err());
        assert!(directory_in(&place.join("new")).is_ok());
    }

    #[test]
    fn only_an_old_directory_without_a_mark_is_unfinished() {
        let place = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(place.path()).unwrap();
        let old = std::time::SystemTime::now() - 2 * UNFINISHED;
        let age = || std::fs::File::open(dir).unwrap().set_modified(old).unwrap();
        assert!(!is_unfinished(dir), "it is in the making");
        age();
        assert!(is_unfinished(dir));
        std::fs::write(dir.join(MARK), "{").unwrap();
        age();
        assert!(is_unfinished(dir), "its owner was killed while it wrote the mark");
        std::fs::write(dir.join("other"), "").unwrap();
        age();
        assert!(!is_unfinished(dir), "it is not known whose file that is");
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
