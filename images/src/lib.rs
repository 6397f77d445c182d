//! Builds the one bootable guest image: without root, without a loop device, the same bytes from the same
//! recipe.
//!
//! [`ensure`] downloads Debian packages, unpacks them and lays out a system disk that boots under BIOS and
//! UEFI, plus an empty data disk. Images are read-only and named by the hash of their recipe; whoever boots
//! one works on a copy and may [`customise`] that copy's boot partition.

mod build;
mod cache;
mod cpio;
mod elf;
mod error;
mod ext4;
pub mod layout;
mod modules;
mod packages;
mod program;
mod recipe;
mod rootfs;
mod tools;
mod tree;
mod variant;

pub use cache::{Image, StoredImage, cache_dir, ensure, find, list};
pub use error::ImageError;
pub use packages::{PACKAGES, refresh_packages};
pub use program::{Programs, build_programs};
pub use tools::{HOST_TOOLS, missing_tools};
pub use variant::{Variant, customise, read_boot_file};
