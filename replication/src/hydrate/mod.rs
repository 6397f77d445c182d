//! Hydration: makes a copy of a machine boot on hardware it was not installed for.
//!
//! A Linux guest finds its root disk only with the drivers in its initial RAM disks. The drivers lie on the
//! machine's own boot partition; hydration tells the boot loaders to load one more. It works on the target
//! copy, through NBD, with nothing but the partition table and the FAT file system. A guest whose DHCP service does not
//! start would keep the address of the network it came from; there it is let start (HY-05).

pub(crate) mod due;
mod loader;
mod partition;
mod stream;

use std::io::{Read, Write};

use contract::{CoreError, ErrorCode};
use fatfs::{Dir, FileSystem, FsOptions};
use nbd::Client;

use stream::DiskStream;

/// A guest's own settings on the boot partition, as `KEY=value` lines.
const SETTINGS: &str = "roundtrip.env";
/// The line that keeps the DHCP service from starting, and the one that lets it.
const NO_DHCP: &str = "DHCP=no";
const DHCP: &str = "DHCP=yes";

type Fat = FileSystem<DiskStream>;
type FatDir<'a> = Dir<'a, DiskStream>;

/// What was done to a disk.
pub(crate) struct Done {
    added: Vec<String>,
    dhcp: bool,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.added.as_slice() {
            [] if self.dhcp => write!(f, "let the DHCP service start"),
            [] => write!(f, "nothing was lacking"),
            added => {
                let dhcp = if self.dhcp { ", let the DHCP service start" } else { "" };
                write!(f, "added {}{dhcp}", added.join(", "))
            }
        }
    }
}

/// Adds what is missing of `drivers` to the boot configuration of the disk at `uri`, and lets the DHCP service start
/// (HY-05, HY-06).
pub(crate) fn prepare(uri: &str, drivers: &[String]) -> Result<Done, CoreError> {
    let mut client = Client::connect(uri).map_err(crate::transfer::link)?;
    let partition = partition::boot_partition(&mut client).map_err(failed)?;
    let stream = DiskStream::new(client, partition);
    let fat = Fat::new(stream, FsOptions::new()).map_err(|e| failed(format!("the boot partition: {e}")))?;
    let added = edit(&fat.root_dir(), drivers)?;
    let dhcp = start_dhcp(&fat.root_dir())?;
    fat.unmount().map_err(|e| failed(format!("the boot partition: {e}")))?;
    Ok(Done { added, dhcp })
}

/// Lets the DHCP service start in a guest that says of itself that it does not: an address of its own is none on the
/// target. Returns whether that was needed.
fn start_dhcp(root: &FatDir<'_>) -> Result<bool, CoreError> {
    if root.open_file(SETTINGS).is_err() {
        return Ok(false);
    }
    let old = read(root, SETTINGS)?;
    let new: String =
        old.lines().map(|line| if line == NO_DHCP { DHCP } else { line }.to_owned() + "\n").collect();
    if old.lines().all(|line| line != NO_DHCP) {
        return Ok(false);
    }
    write(root, SETTINGS, &new)?;
    Ok(true)
}

/// Edits every loader's configuration; each must have the drivers, because firmware decides which is used.
fn edit(root: &FatDir<'_>, drivers: &[String]) -> Result<Vec<String>, CoreError> {
    let mut added = Vec::new();
    for loader in loader::ALL {
        let old = read(root, loader.path)?;
        let mut new = old.clone();
        for driver in drivers {
            if let Some(more) = (loader.add)(&new, &loader::driver_image(driver)) {
                if root.open_file(loader::driver_image(driver).trim_start_matches('/')).is_err() {
                    return Err(failed(format!("the machine holds no driver {driver}")));
                }
                new = more;
                if !added.contains(driver) {
                    added.push(driver.clone());
                }
            }
        }
        if new != old {
            write(root, loader.path, &new)?;
        }
    }
    Ok(added)
}

fn read(root: &FatDir<'_>, path: &str) -> Result<String, CoreError> {
    let mut text = String::new();
    let mut file = root.open_file(path).map_err(|e| failed(format!("{path}: {e}")))?;
    file.read_to_string(&mut text).map_err(|e| failed(format!("{path}: {e}")))?;
    Ok(text)
}

fn write(root: &FatDir<'_>, path: &str, text: &str) -> Result<(), CoreError> {
    let rewrite = || -> std::io::Result<()> {
        let mut file = root.open_file(path)?;
        file.truncate()?;
        file.write_all(text.as_bytes())?;
        file.flush()
    };
    rewrite().map_err(|e| failed(format!("{path}: {e}")))
}

fn failed(what: String) -> CoreError {
    CoreError::new(ErrorCode::HydrationFailed, format!("hydration: {what}"))
}
