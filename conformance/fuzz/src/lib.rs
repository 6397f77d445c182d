//! Fuzz targets of stored evidence.

pub mod evidence;
pub mod packs;
