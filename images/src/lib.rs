//! Builds the bootable guest image: without root privileges, without a loop device, and
//! reproducibly.
//!
//! [`ensure`] downloads Debian packages, unpacks them and writes a system disk that boots under
//! BIOS and UEFI, and an empty data disk. Images are read-only and named by the hash of their
//! recipe. To boot an image, copy it; the boot partition of a copy can be changed with
//! [`customise`].

mod build;
mod cache;
mod cpio;
mod elf;
mod error;
mod ext4;
mod extras;
pub mod layout;
mod modules;
mod packages;
mod program;
mod recipe;
mod rootfs;
pub mod shape;
mod shaped_disks;
mod tools;
mod tree;
mod variant;

pub use cache::{IMAGE_VARIABLE, Image, StoredImage, cache_dir, ensure, find, list};
pub use error::ImageError;
pub use packages::{PACKAGES, refresh_packages};
pub use program::{Programs, build_programs};
pub use shaped_disks::{ShapedDisk, disks};
pub use tools::{HOST_TOOLS, missing_tools};
pub use variant::{Variant, customise, has_boot_file, read_boot_file};
