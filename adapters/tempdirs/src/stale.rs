//! Directories whose owner is gone.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::name::is_owned;

/// Removes the owned directories in `parent` whose owner is gone, and returns them.
///
/// # Errors
/// `parent` cannot be read, or a directory in it cannot be removed.
pub fn remove_stale(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let Ok(entry) = entry else { continue };
        if is_owned(&entry.file_name()) && is_stale(&entry.path()) {
            std::fs::remove_dir_all(entry.path())?;
            removed.push(entry.path());
        }
    }
    Ok(removed)
}

/// Whether nobody holds the lock on a directory. One that belongs to another user, or is gone, is
/// none of ours.
fn is_stale(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir) else { return false };
    match lock.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OwnedDir;

    #[test]
    fn only_directories_without_an_owner_are_removed() {
        let parent = tempfile::tempdir().expect("a directory");
        let owned = OwnedDir::new_in(parent.path(), "test").expect("a directory");
        let stale = parent.path().join("roundtrip-test-gone.owned");
        let foreign = parent.path().join("roundtrip-notes");
        for dir in [&stale, &foreign] {
            std::fs::create_dir(dir).expect("a directory");
        }
        std::fs::write(stale.join("file"), "text").expect("a file");
        assert_eq!(remove_stale(parent.path()).expect("removed"), [stale]);
        assert!(owned.path().exists() && foreign.exists());
        let path = owned.path().to_owned();
        drop(owned);
        assert!(!path.exists());
    }
}
