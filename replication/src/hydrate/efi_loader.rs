//! The boot loader of a machine with UEFI.

use std::io::{self, ErrorKind, Read as _, Write as _};

use super::stream::FatDir;

/// The boot loader that firmware starts if its variables name none, and its directories.
const USUAL: &str = "EFI/BOOT/BOOTX64.EFI";
const DIRECTORIES: [&str; 2] = ["EFI", "EFI/BOOT"];

/// Copies the boot loader at a path as firmware writes it to the usual place. Returns whether there
/// was none.
pub(super) fn copy(root: &FatDir<'_>, boot_entry: &str) -> io::Result<bool> {
    match root.open_file(USUAL) {
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let path = boot_entry.replace('\\', "/");
    let mut loader = Vec::new();
    root.open_file(path.trim_matches('/'))?.read_to_end(&mut loader)?;
    for directory in DIRECTORIES {
        root.create_dir(directory)?;
    }
    let mut file = root.create_file(USUAL)?;
    file.write_all(&loader)?;
    file.flush()?;
    Ok(true)
}
