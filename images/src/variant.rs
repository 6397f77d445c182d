//! Variants: the differences between guests of one image, stored in files on the boot partition.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::error::{AtPath, ImageError};
use crate::layout::{
    AUTHORIZED_KEYS, BOOT_BYTES, BOOT_DRIVERS, BOOT_OFFSET, LOADER_ENTRY, SYSLINUX_CFG, VARIANT_ENV,
    render_loader_entry, render_syslinux,
};
use crate::shape::{ORDINARY, Shape};

/// The differences of a guest from the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variant {
    /// Drivers that the RAM disk loads, from [`BOOT_DRIVERS`]. The guest loads them in alphabetical
    /// order.
    pub boot_drivers: Vec<String>,
    /// Whether to run the DHCP client, which requests an address for every network card.
    pub dhcp: bool,
    /// Static address of the network card in a /24 network, used without DHCP.
    pub address: Option<Ipv4Addr>,
    /// Whether the guest names its network cards by where they are on the PCI bus, as systemd does:
    /// `ens16` for slot 16. Otherwise they are numbered in the order in which it finds them.
    pub predictable_names: bool,
    /// Static addresses of the network cards by these names, each in a /25 network, used without
    /// DHCP.
    pub addresses: Vec<(String, Ipv4Addr)>,
    /// Whether to start the SSH server, which accepts only keys.
    pub ssh: bool,
    /// Whether the guest's own firewall refuses SSH from each boot on, until it is opened.
    pub firewall_refuses_ssh: bool,
    /// Whether to run the replication agent below all disks, for a machine that can be replicated
    /// only through it.
    pub agent: bool,
    /// Version of the replication agent that the guest reports.
    pub agent_version: String,
    /// Public keys that may log in as root, one OpenSSH line each.
    pub authorized_keys: Vec<String>,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            boot_drivers: vec!["vmw_pvscsi".to_owned()],
            dhcp: true,
            address: None,
            predictable_names: false,
            addresses: Vec::new(),
            ssh: true,
            firewall_refuses_ssh: false,
            agent: false,
            agent_version: "9.8".to_owned(),
            authorized_keys: Vec::new(),
        }
    }
}

impl Variant {
    fn check(&self) -> Result<(), ImageError> {
        if let Some(unknown) = self.boot_drivers.iter().find(|d| !BOOT_DRIVERS.contains(&d.as_str())) {
            let known = BOOT_DRIVERS.join(", ");
            return Err(ImageError::Variant(format!("unknown boot driver {unknown}; the image has {known}")));
        }
        // The value is read by the guest's shell.
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
        if !self.agent_version.chars().all(plain) {
            return Err(ImageError::Variant(format!(
                "agent version {:?} has characters that are not allowed",
                self.agent_version
            )));
        }
        if let Some((card, _)) = self.addresses.iter().find(|(card, _)| !card.chars().all(plain)) {
            return Err(ImageError::Variant(format!("{card:?} is not the name of a network card")));
        }
        match self.authorized_keys.iter().find(|key| key.contains('\n')) {
            Some(key) => Err(ImageError::Variant(format!("key {key:?} has more than one line"))),
            None => Ok(()),
        }
    }

    fn env(&self) -> String {
        let yes_no = |set: bool| if set { "yes" } else { "no" };
        let (dhcp, ssh) = (yes_no(self.dhcp), yes_no(self.ssh));
        let address = self.address.map_or_else(String::new, |address| format!("ADDRESS={address}\n"));
        let names = if self.predictable_names { "NAMES=predictable\n" } else { "" };
        let addresses: Vec<_> = self.addresses.iter().map(|(card, at)| format!("{card}:{at}")).collect();
        let addresses = match addresses.is_empty() {
            true => String::new(),
            false => format!("ADDRESSES='{}'\n", addresses.join(" ")),
        };
        let firewall = if self.firewall_refuses_ssh { "FIREWALL=refuses-ssh\n" } else { "" };
        format!(
            "DHCP={dhcp}\n{address}{names}{addresses}SSH={ssh}\n{firewall}AGENT_VERSION={}\n",
            self.agent_version
        )
    }

    fn files(&self, shape: &Shape) -> Vec<(String, Vec<u8>)> {
        let extras: Vec<&str> = shape.extras.iter().map(|extra| extra.name()).collect();
        let keys: String = self.authorized_keys.iter().map(|key| format!("{key}\n")).collect();
        [
            (SYSLINUX_CFG, render_syslinux(&self.boot_drivers, self.agent, &extras)),
            (LOADER_ENTRY, render_loader_entry(&self.boot_drivers, self.agent, &extras)),
            (VARIANT_ENV, self.env() + shape.settings),
            (AUTHORIZED_KEYS, keys),
        ]
        .map(|(path, text)| (path.to_owned(), text.into_bytes()))
        .into()
    }
}

/// Writes the variant into a private raw copy of the system disk. Only files on the boot partition
/// change.
///
/// # Errors
/// The variant names an unknown driver, or `disk` is not a system disk or cannot be written.
pub fn customise(disk: &Utf8Path, variant: &Variant) -> Result<(), ImageError> {
    customise_shape(disk, variant, &ORDINARY)
}

/// Like [`customise`], for a system disk of another shape.
pub(crate) fn customise_shape(disk: &Utf8Path, variant: &Variant, shape: &Shape) -> Result<(), ImageError> {
    variant.check()?;
    write_files(disk, &variant.files(shape))
}

/// Reads a file from the boot partition of a raw system disk.
///
/// # Errors
/// `disk` is not a system disk, or there is no such file.
pub fn read_boot_file(disk: &Utf8Path, path: &str) -> Result<Vec<u8>, ImageError> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    find_boot_file(disk, path)?.ok_or_else(missing).at("cannot read from the boot partition of", disk)
}

/// Whether a raw system disk has this file on its boot partition.
///
/// # Errors
/// `disk` is not a system disk.
pub fn has_boot_file(disk: &Utf8Path, path: &str) -> Result<bool, ImageError> {
    find_boot_file(disk, path).map(|found| found.is_some())
}

fn find_boot_file(disk: &Utf8Path, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
    let file = File::open(disk).at("cannot open", disk)?;
    let read = || -> io::Result<Option<Vec<u8>>> {
        let volume = fatfs::FileSystem::new(Window::new(file), options())?;
        let mut bytes = Vec::new();
        match volume.root_dir().open_file(path.trim_start_matches('/')) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found?.read_to_end(&mut bytes)?,
        };
        Ok(Some(bytes))
    };
    read().at("cannot read from the boot partition of", disk)
}

/// Writes files, and the directories above them, to the boot partition of `disk`.
pub(crate) fn write_files(disk: &Utf8Path, files: &[(String, Vec<u8>)]) -> Result<(), ImageError> {
    let file = File::options().read(true).write(true).open(disk).at("cannot open", disk)?;
    let write = || -> io::Result<()> {
        let volume = fatfs::FileSystem::new(Window::new(file), options())?;
        for (path, bytes) in files {
            write_file(&volume.root_dir(), path.trim_start_matches('/'), bytes)?;
        }
        volume.unmount()
    };
    write().at("cannot write to the boot partition of", disk)
}

/// Moves a file of the boot partition of `disk`, and removes its directory, which has to be empty
/// then.
pub(crate) fn move_file(disk: &Utf8Path, from: &str, to: &str) -> Result<(), ImageError> {
    let bytes = read_boot_file(disk, from)?;
    write_files(disk, &[(to.to_owned(), bytes)])?;
    let file = File::options().read(true).write(true).open(disk).at("cannot open", disk)?;
    let remove = || -> io::Result<()> {
        let volume = fatfs::FileSystem::new(Window::new(file), options())?;
        let from = from.trim_start_matches('/');
        volume.root_dir().remove(from)?;
        if let Some((directory, _)) = from.rsplit_once('/') {
            volume.root_dir().remove(directory)?;
        }
        volume.unmount()
    };
    remove().at("cannot remove a file from the boot partition of", disk)
}

fn write_file(root: &fatfs::Dir<'_, Window>, path: &str, bytes: &[u8]) -> io::Result<()> {
    for (at, _) in path.match_indices('/') {
        root.create_dir(&path[..at])?;
    }
    let mut file = root.create_file(path)?;
    file.truncate()?;
    file.write_all(bytes)
}

fn options() -> fatfs::FsOptions {
    fatfs::FsOptions::new().time_provider(&FixedTime)
}

/// Gives every file the same time, so that equal variants give equal bytes.
#[derive(Debug)]
struct FixedTime;

impl fatfs::TimeProvider for FixedTime {
    fn get_current_date(&self) -> fatfs::Date {
        fatfs::Date { year: 2023, month: 11, day: 14 }
    }

    fn get_current_date_time(&self) -> fatfs::DateTime {
        let time = fatfs::Time { hour: 22, min: 13, sec: 20, millis: 0 };
        fatfs::DateTime { date: self.get_current_date(), time }
    }
}

/// The boot partition as a device.
struct Window {
    disk: File,
    position: u64,
}

impl Window {
    fn new(disk: File) -> Self {
        Self { disk, position: 0 }
    }

    /// Moves to the current position on the disk and limits the length of a transfer to the
    /// partition.
    fn seek_disk(&mut self, wanted: usize) -> io::Result<usize> {
        self.disk.seek(SeekFrom::Start(BOOT_OFFSET + self.position))?;
        Ok(wanted.min((BOOT_BYTES.saturating_sub(self.position)) as usize))
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.seek_disk(buffer.len())?;
        let read = self.disk.read(&mut buffer[..length])?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Write for Window {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.seek_disk(bytes.len())?;
        let written = self.disk.write(&bytes[..length])?;
        self.position += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
            SeekFrom::End(delta) => BOOT_BYTES.checked_add_signed(delta),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8PathBuf;

    fn disk() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let path = Utf8Path::from_path(dir.path()).expect("a UTF-8 path").join("disk.raw");
        let file = File::create_new(&path).expect("created");
        file.set_len(BOOT_OFFSET + BOOT_BYTES).expect("sized");
        let file = File::options().read(true).write(true).open(&path).expect("opened");
        let volume = fatfs::FormatVolumeOptions::new().total_sectors((BOOT_BYTES / 512) as u32);
        fatfs::format_volume(Window::new(file), volume).expect("formatted");
        (dir, path)
    }

    #[test]
    fn a_variant_is_written_and_overwritten() {
        let (_dir, disk) = disk();
        customise(&disk, &Variant::default()).expect("written");
        let shorter = Variant { boot_drivers: Vec::new(), dhcp: false, agent: true, ..Variant::default() };
        customise(&disk, &shorter).expect("written");
        let text = |path| String::from_utf8(read_boot_file(&disk, path).expect("read")).expect("text");
        assert_eq!(text(VARIANT_ENV), "DHCP=no\nSSH=yes\nAGENT_VERSION=9.8\n");
        let fixed = Variant { address: Some([192, 0, 2, 77].into()), dhcp: false, ..Variant::default() };
        assert_eq!(fixed.env(), "DHCP=no\nADDRESS=192.0.2.77\nSSH=yes\nAGENT_VERSION=9.8\n");
        let addresses =
            vec![("ens16".to_owned(), [192, 0, 2, 77].into()), ("ens19".to_owned(), [192, 0, 2, 200].into())];
        let two = Variant { dhcp: false, predictable_names: true, addresses, ..Variant::default() };
        let lines = "NAMES=predictable\nADDRESSES='ens16:192.0.2.77 ens19:192.0.2.200'\n";
        assert_eq!(two.env(), format!("DHCP=no\n{lines}SSH=yes\nAGENT_VERSION=9.8\n"));
        let closed = Variant { firewall_refuses_ssh: true, ..Variant::default() };
        assert_eq!(closed.env(), "DHCP=yes\nSSH=yes\nFIREWALL=refuses-ssh\nAGENT_VERSION=9.8\n");
        assert_eq!(text(SYSLINUX_CFG), render_syslinux::<&str>(&[], true, &[]));
        assert_eq!(text(LOADER_ENTRY), render_loader_entry::<&str>(&[], true, &[]));
    }

    #[test]
    fn an_invalid_variant_is_refused_before_anything_is_written() {
        let missing = Utf8Path::new("no-such-disk");
        let refused = |variant: Variant| matches!(customise(missing, &variant), Err(ImageError::Variant(_)));
        assert!(refused(Variant { boot_drivers: vec!["floppy".into()], ..Variant::default() }));
        assert!(refused(Variant { agent_version: "9; reboot".into(), ..Variant::default() }));
        let addresses = vec![("eth0 & reboot".to_owned(), [192, 0, 2, 77].into())];
        assert!(refused(Variant { addresses, ..Variant::default() }));
        assert!(refused(Variant { authorized_keys: vec!["a\nb".into()], ..Variant::default() }));
        assert!(matches!(customise(missing, &Variant::default()), Err(ImageError::Io { .. })));
    }

    #[test]
    fn a_disk_without_a_boot_partition_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = Utf8Path::from_path(dir.path()).expect("a UTF-8 path").join("empty.raw");
        std::fs::write(&path, vec![0; 4096]).expect("written");
        assert!(customise(&path, &Variant::default()).is_err());
    }
}
