//! Device mapper: creating, suspending and resuming mapped devices.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::ioctl::{self, CALL_BYTES, HEADER_BYTES};

const CONTROL: &str = "/dev/mapper/control";
/// Interface version to request; the oldest one suffices.
const VERSION: [u32; 3] = [4, 0, 0];
const NAME_AT: usize = 48;
const NAME_BYTES: usize = 128;
const TARGET_BYTES: usize = 40;
const SUSPEND: u32 = 1 << 1;
/// Suspend without freezing the file system above, so that the snapshot is crash-consistent and no
/// sync is waited for.
const SKIP_LOCKFS: u32 = 1 << 10;

/// Commands with the kernel's numbers.
#[derive(Clone, Copy)]
enum Command {
    Create = 3,
    Remove = 4,
    Suspend = 6,
    Status = 7,
    Load = 9,
}

/// A device's table, which has one line.
pub(crate) struct Target<'a> {
    /// `linear`, `snapshot`, `snapshot-origin`.
    pub(crate) kind: &'a str,
    /// Length in sectors.
    pub(crate) sectors: u64,
    /// Parameters of this kind of target.
    pub(crate) parameters: String,
}

/// The kernel's device mapper.
pub(crate) struct Mapper(File);

impl Mapper {
    /// Opens the control device.
    pub(crate) fn open() -> Result<Self, String> {
        let control = File::options().read(true).write(true).open(CONTROL);
        control.map(Self).map_err(|e| format!("cannot open {CONTROL}: {e}"))
    }

    /// Creates a device with a table. It is inactive until it is resumed. Returns the path of its
    /// node.
    pub(crate) fn create(&self, name: &str, target: &Target<'_>) -> Result<PathBuf, String> {
        self.call(Command::Create, name, 0, None)?;
        let loaded = self.call(Command::Load, name, 0, Some(target));
        if loaded.is_err() {
            self.remove(name)?;
        }
        loaded?;
        let number = self.call(Command::Status, name, 0, None)?;
        // The minor number lies in two parts of the kernel's device number.
        let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
        Ok(Path::new("/dev").join(format!("dm-{minor}")))
    }

    /// Resumes a device, activating its new table if one was loaded.
    pub(crate) fn resume(&self, name: &str) -> Result<(), String> {
        self.call(Command::Suspend, name, 0, None).map(drop)
    }

    /// Suspends a device: new requests are queued, and those in progress are waited for.
    pub(crate) fn suspend(&self, name: &str) -> Result<(), String> {
        self.call(Command::Suspend, name, SUSPEND | SKIP_LOCKFS, None).map(drop)
    }

    /// Removes a device. Succeeds if there is no such device.
    pub(crate) fn remove(&self, name: &str) -> Result<(), String> {
        let mut memory = request(name, 0, None)?;
        match ioctl::call(&self.0, Command::Remove as u8, &mut memory) {
            Ok(()) | Err(Errno::NXIO) => Ok(()),
            Err(error) => Err(format!("remove device {name}: {error}")),
        }
    }

    /// Executes a command and returns the device's number.
    fn call(
        &self,
        command: Command,
        name: &str,
        flags: u32,
        target: Option<&Target<'_>>,
    ) -> Result<u64, String> {
        let mut memory = request(name, flags, target)?;
        let tried = match command {
            Command::Create => "create",
            Command::Load => "load the table of",
            Command::Suspend if flags == 0 => "resume",
            Command::Suspend => "suspend",
            Command::Status | Command::Remove => "query",
        };
        ioctl::call(&self.0, command as u8, &mut memory)
            .map_err(|e| format!("{tried} device {name}: {e}"))?;
        let number: [u8; 8] = memory[40..48].try_into().unwrap_or_default();
        Ok(u64::from_ne_bytes(number))
    }
}

/// The memory of a call, laid out as in `linux/dm-ioctl.h`.
fn request(name: &str, flags: u32, target: Option<&Target<'_>>) -> Result<[u8; CALL_BYTES], String> {
    let mut memory = [0; CALL_BYTES];
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    let words = [VERSION[0], VERSION[1], VERSION[2], CALL_BYTES as u32, HEADER_BYTES as u32];
    let words = words.into_iter().chain([u32::from(target.is_some()), 0, flags]);
    for (index, word) in words.enumerate() {
        put(index * 4, &word.to_ne_bytes());
    }
    if name.len() >= NAME_BYTES {
        return Err(format!("the device name {name} is too long"));
    }
    put(NAME_AT, name.as_bytes());
    if let Some(target) = target {
        let parameters = HEADER_BYTES + TARGET_BYTES;
        // The text needs a terminating zero byte.
        if parameters + target.parameters.len() >= CALL_BYTES || target.kind.len() >= 16 {
            return Err(format!("the table of device {name} is too long"));
        }
        put(HEADER_BYTES + 8, &target.sectors.to_ne_bytes());
        put(HEADER_BYTES + 24, target.kind.as_bytes());
        put(parameters, target.parameters.as_bytes());
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_kernel_reads_it() {
        let target = Target { kind: "linear", sectors: 7, parameters: "/dev/sda 9".to_owned() };
        let memory = request("name", SUSPEND, Some(&target)).expect("it fits");
        let word = |at: usize| u32::from_ne_bytes(memory[at..at + 4].try_into().expect("four bytes"));
        assert_eq!([0, 4, 8].map(word), VERSION);
        assert_eq!((word(12), word(16), word(20), word(28)), (4096, 312, 1, SUSPEND));
        assert_eq!(&memory[48..53], b"name\0");
        assert_eq!(word(312 + 8), 7);
        assert_eq!(&memory[312 + 24..312 + 31], b"linear\0");
        assert_eq!(&memory[352..363], b"/dev/sda 9\0");
    }

    #[test]
    fn a_request_that_is_too_long_is_refused() {
        assert!(request(&"n".repeat(128), 0, None).is_err());
        let long = Target { kind: "linear", sectors: 1, parameters: "p".repeat(CALL_BYTES) };
        assert!(request("name", 0, Some(&long)).is_err());
    }
}
