//! The system volume of a machine that is shaped like Windows: NTFS, and on it the registry hive
//! SYSTEM, which says which drivers and services start.
//!
//! The suite installs such a volume beside the Linux that boots ([`WindowsVolume`]), and reads it
//! again after a core has recovered the machine ([`SystemHive`], [`Registry`]). It shares no code
//! with the built-in core: that reads NTFS with the crate `ntfs` and walks the hive by itself. Here
//! a small reader of our own finds the file, and the crate `regf` reads the hive.
//!
//! - `partition`: where the volume is on a disk
//! - `files`: NTFS, as far as finding a file's bytes needs it
//! - `registry`: keys and values of a hive, and the [`Difference`]s between two states
//! - `install`: makes the volume of a machine out of the committed one (`fixture`)

mod files;
mod install;
mod partition;
mod registry;
#[cfg(test)]
mod tests;

pub use files::{Extents, SystemHive};
pub use install::{VolumeState, WindowsVolume};
pub use partition::{ENTRY_BYTES, partition, partition_entry};
pub use registry::{Difference, Registry, StartType};

/// Path of the hive on its volume.
pub const SYSTEM_HIVE: &str = "/Windows/System32/config/SYSTEM";

/// Size of the volume that [`WindowsVolume::bytes`] makes, in bytes.
pub const VOLUME_BYTES: u64 = 4 << 20;

/// Why a volume or its registry cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// The volume is no NTFS, or contradicts itself.
    #[error("the NTFS volume cannot be read: {0}")]
    Ntfs(String),
    /// It has no such file.
    #[error("the NTFS volume has no {0}")]
    NoFile(String),
    /// The hive contradicts itself.
    #[error("the registry hive is damaged: {0}")]
    Hive(String),
    /// A write to the hive was begun and not ended.
    #[error("the registry hive has a write that did not end")]
    Unfinished,
    /// The hive has no such key or value.
    #[error("the registry hive has no {0}")]
    NoKey(String),
}
