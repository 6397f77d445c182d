//! Boots of machines.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use contract::{DiskId, MachineId};
use harness::machine::Guest;

use crate::Profile;

/// One boot of one machine: the content of its disks before power-on, and every write since.
///
/// The stand-in takes the copies itself, below the core under test, so that what is judged is what
/// was booted and not what the core says it built.
#[derive(Debug)]
pub struct Boot {
    /// Machine.
    pub machine: MachineId,
    /// Number of the boot, from 1, among all boots of the machine at this site.
    pub number: u32,
    /// The profile of the stand-in, which the guest must see.
    pub profile: Profile,
    /// The guest.
    pub guest: Arc<Guest>,
    /// Disks in boot order.
    pub disks: Vec<BootDisk>,
    /// Time spent on the copies, to be subtracted from the recovery time.
    pub capture_time: Duration,
    /// Directory of its logs.
    pub dir: Utf8PathBuf,
}

impl Boot {
    /// Name of the block node of a disk's format, below the write log.
    pub(crate) fn format_node<'a>(&'a self, disk: &'a DiskId) -> &'a str {
        // A disk that the machine does not have; QEMU will not know the node either.
        self.guest.format_node(role(disk)).unwrap_or_else(|| role(disk))
    }
}

/// One disk at one boot.
#[derive(Clone, Debug)]
pub struct BootDisk {
    /// The disk.
    pub id: DiskId,
    /// Copy of its content before power-on, raw and sparse.
    pub base: Utf8PathBuf,
    /// Log of every write since, in order.
    pub log: Utf8PathBuf,
    /// Size in bytes.
    pub bytes: u64,
}

/// Name of a disk in the names of QEMU's nodes.
pub(crate) fn role(disk: &DiskId) -> &str {
    &disk.0
}
