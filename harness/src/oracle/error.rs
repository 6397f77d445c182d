//! Errors that prevent a verdict.

use std::io;
use std::path::PathBuf;

/// A write log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file could not be opened or read.
    #[error("write log {log}: cannot be read at byte {offset}: {source}")]
    Io {
        /// Name of the log.
        log: String,
        /// Byte offset in the log.
        offset: u64,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The bytes are not a write log of this disk.
    #[error("write log {log}: malformed at byte {offset}: {what}")]
    Malformed {
        /// Name of the log.
        log: String,
        /// Byte offset in the log.
        offset: u64,
        /// What was found and what was expected.
        what: String,
    },
}

/// A disk image could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The image.
        path: PathBuf,
        /// The error that the system returned.
        source: io::Error,
    },
    /// The image is damaged or uses a format that this reader does not support.
    #[error("{}: {what}", path.display())]
    Unusable {
        /// The image, which may be a backing file of the one asked for.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// Nothing was compared: a judgement over no bytes would always pass.
    #[error("nothing was compared: the disk has {bytes} bytes and {exempt} of its sectors are exempt")]
    NothingCompared {
        /// Bytes of the disk.
        bytes: u64,
        /// Sectors exempted.
        exempt: u64,
    },
    /// The log is not that of the base.
    #[error("sizes differ: the base has {base} bytes, the write log was made for {log} bytes")]
    SizeMismatch {
        /// Bytes of the base.
        base: u64,
        /// Bytes of the disk the log was opened for.
        log: u64,
    },
    /// The recovered disk is not as large as the disk that was replicated. That is a finding about
    /// the recovered disk, unlike the other errors, which leave it unjudged.
    #[error("the recovered disk has {recovered} bytes, the disk that was replicated has {base}")]
    RecoveredSize {
        /// Bytes of the base.
        base: u64,
        /// Bytes of the recovered disk.
        recovered: u64,
    },
    /// A disk does not consist of whole sectors.
    #[error("a disk of {bytes} bytes is not a whole number of 512-byte sectors")]
    NotSectors {
        /// Bytes of the disk.
        bytes: u64,
    },
    /// A disk could not be read.
    #[error("the {disk} disk cannot be read at byte {offset}: {source}")]
    Read {
        /// `base` or `recovered`.
        disk: &'static str,
        /// Byte offset.
        offset: u64,
        /// The error that the source returned.
        source: io::Error,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}
