//! Fuzz targets of what a guest sends and leaves on its disks.

pub mod ledger;
pub mod witness_lines;
