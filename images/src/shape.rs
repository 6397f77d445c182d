//! Shapes: layouts of a guest's disks that differ from the ordinary one, as data.
//!
//! The disks of a shape are made from the ordinary image when a machine is installed; the ordinary
//! image stays as it is. The boot partition begins where it begins in the ordinary image, whatever
//! the kind of partition table.

use crate::layout::{BOOT_BYTES, BOOT_OFFSET, DATA_BYTES, DATA_OFFSET, ROOT_BYTES, ROOT_OFFSET};

const MIB: u64 = 1024 * 1024;

/// Where the root file system lies on the system disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// In the second partition of an MBR, as in the ordinary image.
    Partition,
    /// In the second partition of a GPT.
    GptPartition,
    /// On a logical volume of a volume group in the second partition of a GPT. A swap area lies on
    /// another logical volume of that group.
    LogicalVolume,
}

/// The file system on the data disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFileSystem {
    /// As in the ordinary image.
    Ext4,
    /// XFS on a logical volume that is striped across all data disks. The guest makes both at its
    /// first boot, because their tools need devices.
    XfsAcrossDisks,
    /// btrfs on the whole disk, mounted so that it discards what it frees, and trimmed every other
    /// second. The guest makes it at its first boot.
    BtrfsWithDiscards,
}

/// A RAM disk of tools and kernel modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// LVM and XFS.
    Lvm,
    /// btrfs.
    Btrfs,
}

impl Extra {
    /// Every one.
    pub(crate) const ALL: [Self; 2] = [Self::Lvm, Self::Btrfs];

    /// Name of its file, without the suffix.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lvm => "lvm",
            Self::Btrfs => "btrfs",
        }
    }
}

/// A layout of a machine's disks.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// Name in `scenarios.toml`; empty for the ordinary layout.
    pub name: &'static str,
    /// Where the root file system lies.
    pub root: Root,
    /// What is on the data disks.
    pub data: DataFileSystem,
    /// Size of the system disk in bytes.
    pub system_bytes: u64,
    /// Size of a logical sector of the system disk in bytes.
    pub system_sector: u32,
    /// Names of the data disks, all of one size.
    pub data_disks: &'static [&'static str],
    /// Size of each data disk in bytes.
    pub data_bytes: u64,
    /// Size of a logical sector of the data disks in bytes.
    pub data_sector: u32,
    /// Where the UEFI boot loader lies, as the firmware variables of a machine of this shape name
    /// it; `None`: where firmware looks for it.
    pub boot_entry: Option<&'static str>,
    /// RAM disks of tools and kernel modules that the guest needs beside the ordinary ones.
    pub(crate) extras: &'static [Extra],
    /// Lines of the guest's settings.
    pub(crate) settings: &'static str,
}

/// The layout of the ordinary image.
pub const ORDINARY: Shape = Shape {
    name: "",
    root: Root::Partition,
    data: DataFileSystem::Ext4,
    system_bytes: crate::layout::SYSTEM_BYTES,
    system_sector: 512,
    data_disks: &["data"],
    data_bytes: DATA_BYTES,
    data_sector: 512,
    boot_entry: None,
    extras: &[],
    settings: "",
};

/// GPT; root and swap on logical volumes; XFS on a logical volume across two disks.
const GPT_LVM: Shape = Shape {
    name: "gpt-lvm",
    root: Root::LogicalVolume,
    data: DataFileSystem::XfsAcrossDisks,
    system_bytes: 304 * MIB,
    system_sector: 512,
    data_disks: &["data", "data-2"],
    // XFS wants 300 MiB in all.
    data_bytes: 192 * MIB,
    data_sector: 512,
    boot_entry: None,
    extras: &[Extra::Lvm],
    settings: "DATA=xfs-across-disks\nSWAP=yes\n",
};

/// btrfs that discards, on a disk with sectors of 4096 bytes.
const BTRFS_4K: Shape = Shape {
    name: "btrfs-4k",
    data: DataFileSystem::BtrfsWithDiscards,
    data_bytes: 256 * MIB,
    data_sector: 4096,
    extras: &[Extra::Btrfs],
    settings: "DATA=btrfs-with-discards\n",
    ..ORDINARY
};

/// A UEFI boot loader that only an entry of the firmware variables names.
const BOOT_ENTRY: Shape =
    Shape { name: "boot-entry", boot_entry: Some(r"\EFI\roundtrip\systemd-bootx64.efi"), ..ORDINARY };

/// Disks with sectors of 4096 bytes, and a GPT on the one that the machine boots from.
const GPT_4K: Shape = Shape {
    name: "gpt-4k",
    root: Root::GptPartition,
    // Room for the second copy of the table.
    system_bytes: crate::layout::SYSTEM_BYTES + MIB,
    system_sector: 4096,
    data_sector: 4096,
    ..ORDINARY
};

/// Every layout.
pub const ALL: [&Shape; 5] = [&ORDINARY, &GPT_LVM, &BTRFS_4K, &BOOT_ENTRY, &GPT_4K];

impl Shape {
    /// The layout with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|shape| shape.name == name)
    }

    /// Whether the disks are laid out as those of the ordinary image.
    #[must_use]
    pub fn has_ordinary_disks(&self) -> bool {
        self.root == ORDINARY.root && self.data == ORDINARY.data
    }

    /// Whether the guest discards what it frees.
    #[must_use]
    pub fn discards(&self) -> bool {
        self.data == DataFileSystem::BtrfsWithDiscards
    }

    /// Where the ext4 file system lies on the disk with this name: offset and length in bytes.
    /// `None` if there is none on it.
    #[must_use]
    pub fn ext4_on(&self, disk: &str) -> Option<(u64, u64)> {
        match (disk, self.root, self.data) {
            ("system", Root::Partition | Root::GptPartition, _) => Some((ROOT_OFFSET, ROOT_BYTES)),
            ("system", Root::LogicalVolume, _) => Some((PHYSICAL_VOLUME_OFFSET + EXTENTS_OFFSET, ROOT_BYTES)),
            ("data", _, DataFileSystem::Ext4) => Some((DATA_OFFSET, DATA_BYTES)),
            _ => None,
        }
    }
}

/// Byte offset of the partition that holds the volume group.
pub(crate) const PHYSICAL_VOLUME_OFFSET: u64 = BOOT_OFFSET + BOOT_BYTES;
/// Byte offset of the first extent on a physical volume.
pub(crate) const EXTENTS_OFFSET: u64 = MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_found_by_name_and_the_empty_name_is_the_ordinary_one() {
        for shape in ALL {
            assert_eq!(Shape::named(shape.name), Some(shape));
        }
        assert_eq!(Shape::named(""), Some(&ORDINARY));
        assert_eq!(Shape::named("round"), None);
    }
}
