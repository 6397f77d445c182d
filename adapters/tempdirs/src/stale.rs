//! Directories whose owner is gone.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::name::{is_owned, is_unfinished};

/// The time in which a directory is locked once it was made.
const MADE_WITHIN: Duration = Duration::from_secs(60);

/// Removes the owned directories in `parent` whose owner is gone, and returns them.
///
/// # Errors
/// `parent` cannot be read, or a directory in it cannot be removed.
pub fn remove_stale(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let Ok(entry) = entry else { continue };
        let (name, path) = (entry.file_name(), entry.path());
        if is_owned(&name) && is_stale(&path) {
            std::fs::remove_dir_all(&path)?;
            removed.push(path);
        } else if is_unfinished(&name) && is_old(&path) && is_stale(&path) {
            // Nothing is put into a directory before it is locked.
            std::fs::remove_dir(&path)?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Whether a directory was made so long ago that its owner must have been killed before it could
/// lock it.
fn is_old(dir: &Path) -> bool {
    let age = std::fs::symlink_metadata(dir).and_then(|found| found.modified()).map(|at| at.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age > MADE_WITHIN))
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
        let unfinished = parent.path().join("roundtrip-test-gone.new");
        let in_the_making = parent.path().join("roundtrip-test-young.new");
        for dir in [&stale, &foreign, &unfinished, &in_the_making] {
            std::fs::create_dir(dir).expect("a directory");
        }
        let old = std::time::SystemTime::now() - 2 * MADE_WITHIN;
        File::open(&unfinished).and_then(|dir| dir.set_modified(old)).expect("made older");
        std::fs::write(stale.join("file"), "text").expect("a file");
        let mut removed = remove_stale(parent.path()).expect("removed");
        removed.sort();
        assert_eq!(removed, [unfinished, stale]);
        assert!(owned.path().exists() && foreign.exists() && in_the_making.exists());
        let path = owned.path().to_owned();
        drop(owned);
        assert!(!path.exists());
    }
}
