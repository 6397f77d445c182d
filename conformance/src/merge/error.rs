//! Why shards are not merged.

/// Why shards were not merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// These directories are not the shards of one run.
    #[error("{0}")]
    Refused(String),
    /// Something could not be read or written.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}
