//! Fuzz target of the comparison of FAT partitions.

pub mod fat;
