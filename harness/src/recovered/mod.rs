//! What a machine with the workload would find on its disks, checked on the host without booting
//! it.
//!
//! Of each disk: `e2fsck` replays the journal of the file system and clears orphaned inodes, as a
//! boot does, and must find nothing else; then a second implementation (`ext4-view`) reads the
//! ledger and the bank from it. SQLite opens a copy of the bank, replays its write-ahead log and
//! checks it. The checks of ledger and bank are those that the witness makes inside a guest.

mod contents;
mod disk_copies;
mod file_system;
mod layout;
mod machine;
mod partition_table;

pub use contents::{Contents, read_contents};
pub use disk_copies::DiskCopies;
pub use file_system::{Recovery, recover, undo};
pub use layout::DiskLayout;
pub use machine::check_machine;
pub use partition_table::check_partition_table;

use std::io;
use std::path::{Path, PathBuf};

/// A disk on which a machine would not find what it kept there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What is damaged.
    pub part: Part,
    /// What was found.
    pub words: String,
}

/// What is kept on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ext4 file system.
    FileSystem,
    /// The records of the ledger.
    Ledger,
    /// The bank.
    Bank,
}

impl Damage {
    pub(crate) fn new(part: Part, words: impl Into<String>) -> Self {
        Self { part, words: words.into() }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = match self.part {
            Part::FileSystem => "file system",
            Part::Ledger => "ledger",
            Part::Bank => "bank",
        };
        write!(f, "{part}: {}", self.words)
    }
}

/// Why a disk cannot be checked. It says nothing about the disk.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// A program is missing, or did not do its work.
    #[error("{tool}: {found}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// What it printed, or why it did not run.
        found: String,
    },
    /// The reader does not support this file system.
    #[error("the file system on {} cannot be read here: {why}", path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// What the reader said.
        why: String,
    },
    /// SQLite failed for a reason that lies outside of the database.
    #[error("the bank cannot be checked here: {0}")]
    Sqlite(rusqlite::Error),
    /// A write log cannot be read.
    #[error(transparent)]
    Log(#[from] crate::oracle::LogError),
    /// The suite itself is at fault.
    #[error("{0}")]
    Suite(String),
}

/// Names the file of an error.
pub(crate) fn on(path: &Path) -> impl FnOnce(io::Error) -> CheckError {
    move |source| CheckError::File { path: path.to_owned(), source }
}
