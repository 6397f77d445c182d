//! Makes the disks of a machine of some shape from the ordinary image.

mod gpt;
mod volume_group;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt as _;

use ::gpt::partition_types::{EFI, LINUX_FS};
use camino::{Utf8Path, Utf8PathBuf};

use crate::build::{copy_range, run_sfdisk};
use crate::cache::Image;
use crate::error::{AtPath, ImageError};
use crate::extras::{self, GPT_BOOT_CODE};
use crate::layout::{BOOT_BYTES, BOOT_OFFSET, EFI_LOADER, ROOT_BYTES, ROOT_OFFSET, extra_image};
use crate::shape::{DataFileSystem, EXTENTS_OFFSET, PHYSICAL_VOLUME_OFFSET, Root, Shape};
use crate::variant::{self, Variant};
use volume_group::{EXTENT, Volume};

const SECTOR: u64 = 512;
/// Name of the volume group on the system disk. The guest's scripts know it, and its volumes.
const GROUP: &str = "rt";
/// Bytes behind the last partition, in which the second copy of a GPT lies.
const GPT_END: u64 = 1024 * 1024;

/// One disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapedDisk {
    /// `system`, `data`, …
    pub name: &'static str,
    /// Its raw content.
    pub path: Utf8PathBuf,
}

/// Makes the disks of a machine with this shape and variant in the directory `dir`.
///
/// # Errors
/// The variant is invalid, a tool fails, or a disk cannot be written.
pub fn disks(
    image: &Image,
    shape: &Shape,
    variant: &Variant,
    dir: &Utf8Path,
) -> Result<Vec<ShapedDisk>, ImageError> {
    let system = dir.join("system.raw");
    match shape.root {
        Root::Partition => copy_whole(&image.system, &system)?,
        Root::GptPartition => root_in_gpt(image, shape, &system)?,
        Root::LogicalVolume => root_on_logical_volume(image, shape, &system)?,
    }
    let files = shape.extras.iter().map(|extra| {
        let name = extra_image(extra.name());
        let path = image.extras.join(extras::file(*extra));
        Ok((name, fs::read(&path).at("cannot read", &path)?))
    });
    variant::write_files(&system, &files.collect::<Result<Vec<_>, ImageError>>()?)?;
    variant::customise_shape(&system, variant, shape)?;
    if let Some(entry) = shape.boot_entry {
        variant::move_file(&system, EFI_LOADER, &entry.replace('\\', "/"))?;
    }
    let mut disks = vec![ShapedDisk { name: "system", path: system }];
    for name in shape.data_disks {
        let path = match shape.data {
            DataFileSystem::Ext4 => image.data.clone(),
            DataFileSystem::XfsAcrossDisks | DataFileSystem::BtrfsWithDiscards => {
                empty(&dir.join(format!("{name}.raw")), shape.data_bytes)?
            }
        };
        disks.push(ShapedDisk { name, path });
    }
    Ok(disks)
}

fn copy_whole(from: &Utf8Path, to: &Utf8Path) -> Result<(), ImageError> {
    fs::copy(from, to).at("cannot copy to", to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o600)).at("cannot protect", to)
}

fn empty(path: &Utf8Path, bytes: u64) -> Result<Utf8PathBuf, ImageError> {
    let file = File::create(path).at("cannot create", path)?;
    file.set_len(bytes).at("cannot size", path)?;
    Ok(path.to_owned())
}

fn root_in_gpt(image: &Image, shape: &Shape, disk: &Utf8Path) -> Result<(), ImageError> {
    empty(disk, shape.system_bytes)?;
    let boot = BOOT_OFFSET..BOOT_OFFSET + BOOT_BYTES;
    let root = ROOT_OFFSET..ROOT_OFFSET + ROOT_BYTES;
    let partitions = [(EFI, boot.clone()), (LINUX_FS, root.clone())];
    gpt::write_table(disk, shape.system_sector, &partitions)?;
    for bytes in [boot, root] {
        copy_range(&image.system, bytes.clone(), disk, bytes.start)?;
    }
    Ok(())
}

fn root_on_logical_volume(image: &Image, shape: &Shape, disk: &Utf8Path) -> Result<(), ImageError> {
    let volume_bytes = shape.system_bytes - GPT_END - PHYSICAL_VOLUME_OFFSET;
    empty(disk, shape.system_bytes)?;
    partition(disk, volume_bytes)?;
    write_at(disk, 0, &boot_code(image)?)?;
    copy_range(&image.system, BOOT_OFFSET..BOOT_OFFSET + BOOT_BYTES, disk, BOOT_OFFSET)?;
    let root = ROOT_BYTES / EXTENT;
    let extents = (volume_bytes - EXTENTS_OFFSET) / EXTENT;
    let volumes = [Volume { name: "root", extents: root }, Volume { name: "swap", extents: extents - root }];
    write_at(disk, PHYSICAL_VOLUME_OFFSET, &volume_group::header(GROUP, volume_bytes, &volumes))?;
    let root = ROOT_OFFSET..ROOT_OFFSET + ROOT_BYTES;
    copy_range(&image.system, root, disk, PHYSICAL_VOLUME_OFFSET + EXTENTS_OFFSET)
}

/// A GPT whose identifiers are fixed. The boot code looks for the partition with the attribute.
fn partition(disk: &Utf8Path, volume_bytes: u64) -> Result<(), ImageError> {
    let table = format!(
        "label: gpt\nlabel-id: 52540001-0000-4000-8000-000000000001\nunit: sectors\n\
         start={}, size={}, type=uefi, uuid=52540002-0000-4000-8000-000000000002, attrs=LegacyBIOSBootable\n\
         start={}, size={}, type=lvm, uuid=52540003-0000-4000-8000-000000000003\n",
        BOOT_OFFSET / SECTOR,
        BOOT_BYTES / SECTOR,
        PHYSICAL_VOLUME_OFFSET / SECTOR,
        volume_bytes / SECTOR,
    );
    run_sfdisk(disk, &table)
}

fn boot_code(image: &Image) -> Result<Vec<u8>, ImageError> {
    let path = image.extras.join(GPT_BOOT_CODE);
    fs::read(&path).at("cannot read", &path)
}

fn write_at(disk: &Utf8Path, offset: u64, bytes: &[u8]) -> Result<(), ImageError> {
    let mut file = File::options().write(true).open(disk).at("cannot open", disk)?;
    file.seek(SeekFrom::Start(offset)).at("cannot write", disk)?;
    file.write_all(bytes).at("cannot write", disk)
}
