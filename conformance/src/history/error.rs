//! Why a history cannot be used.

use camino::Utf8PathBuf;

/// Why a history cannot be used. The text is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file is damaged, or no history.
    #[error(
        "The history {path} is damaged or no history ({why}). It was left as it is: move it aside, and \
         `cargo xtask report RUN` adds a run to a new one."
    )]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// A newer suite wrote the file.
    #[error(
        "The history {path} has version {version}, and this suite knows versions up to {known}: use a newer one."
    )]
    Newer {
        /// The file.
        path: Utf8PathBuf,
        /// Its version.
        version: i64,
        /// The version of this suite.
        known: i64,
    },
    /// The file could not be opened, read or written.
    #[error("The history {path} could not be used ({why}).")]
    Unusable {
        /// The file.
        path: Utf8PathBuf,
        /// What SQLite says.
        why: String,
    },
    /// There is no such run.
    #[error("The history {path} has no run {run}: `cargo xtask history list` shows all.")]
    NoSuchRun {
        /// The file.
        path: Utf8PathBuf,
        /// The id that was asked for.
        run: String,
    },
}

impl HistoryError {
    /// What an error of SQLite means for a history.
    pub(super) fn of(path: &camino::Utf8Path, error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let (path, why) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged { path, why },
            _ => Self::Unusable { path, why },
        }
    }
}
