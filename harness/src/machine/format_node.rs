//! The block node of a disk's format, whoever attaches the disk.

use super::{DiskManager, GuestSpec, managed_disks, nodes};

impl GuestSpec {
    /// Name of the block node of a disk's format. Replication attaches here, below the write log.
    #[must_use]
    pub fn format_node(&self, role: &str) -> String {
        match self.disk_manager {
            DiskManager::CommandLine => nodes::format_node(role),
            DiskManager::Libvirt => managed_disks::format_node(&self.disks, role),
        }
    }
}
