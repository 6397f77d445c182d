//! Fuzz target of the reader of NTFS volumes and registry hives.

pub mod windows_volume;
