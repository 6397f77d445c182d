//! Directories with an owner.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::name::{PREFIX, SUFFIX, UNFINISHED};

/// A directory that only this user can enter. It is removed when this is dropped.
#[derive(Debug)]
pub struct OwnedDir {
    path: PathBuf,
    _lock: File,
}

impl OwnedDir {
    /// Makes a directory for `what` in the system's directory for temporary files.
    ///
    /// # Errors
    /// The host allows no directory or no lock.
    pub fn new(what: &str) -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir(), what)
    }

    /// Makes a directory for `what` in `parent`.
    ///
    /// # Errors
    /// The host allows no directory or no lock.
    pub fn new_in(parent: &Path, what: &str) -> io::Result<Self> {
        let only_owner = Permissions::from_mode(0o700);
        let name = format!("{PREFIX}{what}-");
        let made =
            Builder::new().prefix(&name).suffix(UNFINISHED).permissions(only_owner).tempdir_in(parent)?;
        let lock = File::open(made.path())?;
        lock.lock()?;
        let path = made.path().with_extension(SUFFIX.trim_start_matches('.'));
        std::fs::rename(made.path(), &path)?;
        // It has another name now.
        let _ = made.keep();
        Ok(Self { path, _lock: lock })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it now. What is open in it stays usable for those who have it open.
    ///
    /// # Errors
    /// A file in it cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

impl Drop for OwnedDir {
    fn drop(&mut self) {
        // What cannot be removed now is stale from now on.
        let _ = self.remove();
    }
}
