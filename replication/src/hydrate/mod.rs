//! Hydration: makes a copy of a machine bootable on hardware for which it was not installed.
//!
//! A Linux guest finds its root disk only with the drivers in its initial RAM disks. The drivers
//! are on the machine's own boot partition; hydration adds them to the boot loaders'
//! configurations. Clouds assign addresses by DHCP, so hydration also enables the guest's DHCP
//! service. It edits the target copy through NBD and needs only the partition table and the FAT
//! file system. On a Windows disk ([`windows`]) it changes the start types of drivers and services
//! in the registry.
//!
//! Firmware variables lie on no disk. A boot loader that only they name is copied to where firmware
//! looks for one.

pub(crate) mod due;
mod efi_loader;
mod gpt;
mod loader;
mod partition;
mod service;
mod stream;
pub(crate) mod windows;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use contract::{CoreError, ErrorCode};
use fatfs::{FileSystem, FsOptions};
use nbd::Client;

use stream::{DiskStream, FatDir};

type Fat = FileSystem<DiskStream>;

/// What hydration has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repairs {
    /// Boot drivers that were added.
    pub(crate) drivers: Vec<String>,
    /// Whether the DHCP service was enabled.
    pub(crate) dhcp: bool,
    /// Drivers and services of Windows whose start types were changed.
    pub(crate) services: Vec<String>,
}

impl std::fmt::Display for Repairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut done = Vec::new();
        if !self.drivers.is_empty() {
            done.push(format!("added {}", self.drivers.join(", ")));
        }
        if self.dhcp {
            done.push("enabled DHCP".to_owned());
        }
        if !self.services.is_empty() {
            done.push(format!("changed the start of {}", self.services.join(", ")));
        }
        if done.is_empty() { f.write_str("nothing was missing") } else { f.write_str(&done.join("; ")) }
    }
}

/// Adds missing `drivers` to the boot configuration of the disk at `uri` and enables its DHCP
/// service.
pub(crate) fn repair(uri: &str, drivers: &[String]) -> Result<Repairs, CoreError> {
    on_boot_partition(uri, |root| {
        let drivers = add_drivers(root, drivers)?;
        let dhcp = enable_dhcp(root)?;
        Ok(Repairs { drivers, dhcp, services: Vec::new() })
    })
}

/// Copies the boot loader that a machine's firmware variables name to where firmware looks for one
/// that they do not name, on the disk at `uri`. Returns whether there was none.
pub(crate) fn copy_loader(uri: &str, boot_entry: &str) -> Result<bool, CoreError> {
    on_boot_partition(uri, |root| {
        efi_loader::copy(root, boot_entry).map_err(|e| failed(format!("the boot loader {boot_entry}: {e}")))
    })
}

/// Does work on the files of the boot partition of the disk at `uri`.
fn on_boot_partition<T>(
    uri: &str,
    work: impl FnOnce(&FatDir<'_>) -> Result<T, CoreError>,
) -> Result<T, CoreError> {
    let mut client = Client::connect(uri).map_err(crate::transfer::nbd_error)?;
    let partition = partition::boot_partition(&mut client).map_err(failed)?;
    let client = Rc::new(RefCell::new(client));
    let stream = DiskStream::new(Rc::clone(&client), partition);
    let fat = Fat::new(stream, FsOptions::new()).map_err(|e| failed(format!("the boot partition: {e}")))?;
    let done = work(&fat.root_dir())?;
    fat.unmount().map_err(|e| failed(format!("the boot partition: {e}")))?;
    // The file system does not do so after its last writes.
    client.borrow_mut().flush().map_err(crate::transfer::nbd_error)?;
    Ok(done)
}

/// Adds the drivers to every boot loader's configuration, because the firmware decides which loader
/// is used.
fn add_drivers(root: &FatDir<'_>, drivers: &[String]) -> Result<Vec<String>, CoreError> {
    let mut added = Vec::new();
    for loader in loader::ALL {
        let old = read(root, loader.path)?;
        let mut new = old.clone();
        for driver in drivers {
            if let Some(more) = (loader.add)(&new, &loader::driver_image(driver)) {
                if root.open_file(loader::driver_image(driver).trim_start_matches('/')).is_err() {
                    return Err(failed(format!("the machine has no driver {driver}")));
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

/// Enables the DHCP service. Returns whether it was disabled. In a guest without settings it is
/// always enabled.
fn enable_dhcp(root: &FatDir<'_>) -> Result<bool, CoreError> {
    if root.open_file(service::SETTINGS).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(false);
    }
    let old = read(root, service::SETTINGS)?;
    let new = service::with_dhcp(&old);
    new.as_deref().map_or(Ok(()), |new| write(root, service::SETTINGS, new))?;
    Ok(new.is_some())
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
