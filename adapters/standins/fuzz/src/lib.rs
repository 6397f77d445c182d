//! Fuzz target of the footer of a VHD.

pub mod vhd;
