//! Where the witness keeps its files.

use std::path::{Path, PathBuf};

/// Roles of the disks in ledger order.
pub(crate) const ROLES: [&str; 2] = ["system", "data"];

/// The files on both disks and what the start scripts left in memory.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// One ledger on each disk.
    pub(crate) ledgers: [PathBuf; 2],
    /// One churn file on each disk.
    pub(crate) churns: [PathBuf; 2],
    /// What measurements write to, on the data disk.
    pub(crate) speed: PathBuf,
    /// The bank's database, on the data disk.
    pub(crate) bank: PathBuf,
    /// Superblocks as they were before mounting.
    pub(crate) superblocks: [PathBuf; 2],
}

impl Paths {
    /// The places in a guest.
    pub(crate) fn guest() -> Self {
        Self::under(Path::new("/var/lib/witness"), Path::new("/data"), Path::new("/run/roundtrip"))
    }

    /// The places under one folder on the system disk, one on the data disk and one in memory.
    pub(crate) fn under(system: &Path, data: &Path, memory: &Path) -> Self {
        Self {
            ledgers: [system.join("ledger"), data.join("ledger")],
            churns: [system.join("churn"), data.join("churn")],
            speed: data.join("speed"),
            bank: data.join("bank.db"),
            superblocks: ROLES.map(|role| memory.join(format!("{role}.super"))),
        }
    }
}
