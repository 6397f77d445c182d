//! What a machine was booted from.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use contract::{DiskId, MachineId};
use harness::machine::Guest;

use crate::Profile;

/// One boot of one machine: what its disks held before the first instruction ran, and every write since.
///
/// The copies are taken by the stand-in itself, below the core under test: what is judged is what was booted,
/// not what the core says it built.
#[derive(Debug)]
pub struct Boot {
    /// Machine.
    pub machine: MachineId,
    /// Counted from 1 over the machine's life on this site.
    pub number: u32,
    /// The stand-in that it runs on, as it is described: what the guest has to see.
    pub profile: Profile,
    /// The guest.
    pub guest: Arc<Guest>,
    /// Disks in boot order.
    pub disks: Vec<BootDisk>,
    /// What taking the copies cost; the measurer takes it off the recovery time.
    pub capture_time: Duration,
    /// Directory of logs.
    pub dir: Utf8PathBuf,
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
