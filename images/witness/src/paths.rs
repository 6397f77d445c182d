//! Paths of the witness's files.

use std::path::{Path, PathBuf};

/// Roles of the disks in ledger order.
pub(crate) const ROLES: [&str; 2] = ["system", "data"];

/// The files on both disks, and those that the init scripts saved in memory.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The ledger on each disk.
    pub(crate) ledgers: [PathBuf; 2],
    /// The file for background writes on each disk.
    pub(crate) background_files: [PathBuf; 2],
    /// The file for speed measurements, on the data disk.
    pub(crate) speed: PathBuf,
    /// The bank's database, on the data disk.
    pub(crate) bank: PathBuf,
    /// Each disk's superblock as it was before mounting.
    pub(crate) superblocks: [PathBuf; 2],
}

impl Paths {
    /// The paths in a guest.
    pub(crate) fn guest() -> Self {
        Self::under(Path::new("/var/lib/witness"), Path::new("/data"), Path::new("/run/roundtrip"))
    }

    /// The paths under a directory on the system disk, one on the data disk and one in memory.
    pub(crate) fn under(system: &Path, data: &Path, memory: &Path) -> Self {
        Self {
            ledgers: [system.join("ledger"), data.join("ledger")],
            background_files: [system.join("churn"), data.join("churn")],
            speed: data.join("speed"),
            bank: data.join("bank.db"),
            superblocks: ROLES.map(|role| memory.join(format!("{role}.super"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use witness::files::{BANK, LEDGERS};

    use super::*;

    #[test]
    fn the_host_looks_for_files_where_the_guest_keeps_them() {
        let guest = Paths::guest();
        let on_disk = |mounted_at: &str, path: &str| PathBuf::from(format!("{mounted_at}{path}"));
        assert_eq!(guest.ledgers, [on_disk("", LEDGERS[0]), on_disk("/data", LEDGERS[1])]);
        assert_eq!(guest.bank, on_disk("/data", BANK));
    }
}
