//! Writes the disks of an image.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::process::Stdio;

use camino::Utf8Path;

use crate::error::{AtPath, ImageError};
use crate::ext4::{self, Volume};
use crate::layout::{
    AGENT_INITRD, BOOT_BYTES, BOOT_DRIVERS, BOOT_OFFSET, DATA_BYTES, DATA_LABEL, EFI_LOADER, INITRD, KERNEL,
    LOADER_CONF, ROOT_BYTES, ROOT_LABEL, ROOT_OFFSET, SYSTEM_BYTES, driver_image,
};
use crate::program::Programs;
use crate::rootfs::{self, Parts};
use crate::tree::Tree;
use crate::variant::{self, Variant};
use crate::{cpio, tools};

const DISK_ID: &str = "0x52540001";
const FAT_ID: &str = "52540002";
const ROOT_UUID: &str = "52540003-0000-4000-8000-000000000003";
const DATA_UUID: &str = "52540004-0000-4000-8000-000000000004";
const SECTOR: u64 = 512;
/// Size of the boot code in front of the partition table, in bytes.
const BOOT_CODE_BYTES: usize = 440;

/// Writes the system disk and the empty data disk.
pub(crate) fn disks(
    parts: &Parts,
    programs: &Programs,
    work: &Utf8Path,
    system: &Utf8Path,
    data: &Utf8Path,
    say: &mut dyn FnMut(&str),
) -> Result<(), ImageError> {
    say("writing the root file system");
    let root = work.join("root.ext4");
    let tree = rootfs::root(parts, &programs.witness)?;
    ext4::write(&Volume { label: ROOT_LABEL, uuid: ROOT_UUID, bytes: ROOT_BYTES, tree: &tree }, &root, work)?;
    say("writing the boot partition");
    partition(system)?;
    copy_range(&root, 0..ROOT_BYTES, system, ROOT_OFFSET)?;
    boot_partition(parts, &programs.agent, system)?;
    say("writing the data disk");
    let empty = Tree::default();
    ext4::write(&Volume { label: DATA_LABEL, uuid: DATA_UUID, bytes: DATA_BYTES, tree: &empty }, data, work)
}

fn partition(disk: &Utf8Path) -> Result<(), ImageError> {
    let file = File::create(disk).at("cannot create", disk)?;
    file.set_len(SYSTEM_BYTES).at("cannot size", disk)?;
    let table = format!(
        "label: dos\nlabel-id: {DISK_ID}\nunit: sectors\n\
         start={}, size={}, type=ef, bootable\nstart={}, size={}, type=83\n",
        BOOT_OFFSET / SECTOR,
        BOOT_BYTES / SECTOR,
        ROOT_OFFSET / SECTOR,
        ROOT_BYTES / SECTOR,
    );
    run_sfdisk(disk, &table)
}

/// Writes a partition table by the script `table`.
pub(crate) fn run_sfdisk(disk: &Utf8Path, table: &str) -> Result<(), ImageError> {
    let mut sfdisk = tools::command("sfdisk");
    sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel", disk.as_str()]);
    sfdisk.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = sfdisk.spawn().at("cannot run sfdisk on", disk)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(table.as_bytes()).at("cannot partition", disk)?;
    }
    let output = child.wait_with_output().at("cannot partition", disk)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(ImageError::Command { command: "sfdisk".into(), status: output.status.to_string(), output: said })
}

fn boot_partition(parts: &Parts, agent: &Utf8Path, disk: &Utf8Path) -> Result<(), ImageError> {
    let mut mkfs = tools::command("mkfs.vfat");
    mkfs.args([
        "--invariant",
        "-F",
        "16",
        "-i",
        FAT_ID,
        "-n",
        "RT-BOOT",
        "-h",
        &(BOOT_OFFSET / SECTOR).to_string(),
    ]);
    mkfs.args([
        "--offset",
        &(BOOT_OFFSET / SECTOR).to_string(),
        disk.as_str(),
        &(BOOT_BYTES / 1024).to_string(),
    ]);
    tools::run(&mut mkfs)?;
    variant::write_files(disk, &boot_files(parts, agent)?)?;
    variant::customise(disk, &Variant::default())?;
    let mut syslinux = tools::command("syslinux");
    tools::run(syslinux.args(["--install", "--offset", &BOOT_OFFSET.to_string(), disk.as_str()]))?;
    boot_code(parts, disk)
}

/// All files on the boot partition that do not depend on the variant.
fn boot_files(parts: &Parts, agent: &Utf8Path) -> Result<Vec<(String, Vec<u8>)>, ImageError> {
    let ramdisk = |path: String, tree| -> Result<_, ImageError> {
        let bytes = cpio::ramdisk(&tree).at("cannot compress", Utf8Path::new(&path))?;
        Ok((path, bytes))
    };
    let mut files = vec![
        (KERNEL.to_owned(), parts.kernel()?),
        ramdisk(INITRD.to_owned(), rootfs::base_ramdisk(parts)?)?,
        ramdisk(AGENT_INITRD.to_owned(), rootfs::agent_ramdisk(parts, agent)?)?,
        (EFI_LOADER.to_owned(), parts.read(&["usr/lib/systemd/boot/efi/systemd-bootx64.efi"])?),
        (LOADER_CONF.to_owned(), b"default roundtrip.conf\ntimeout 0\neditor no\n".to_vec()),
    ];
    for driver in BOOT_DRIVERS {
        files.push(ramdisk(driver_image(driver), rootfs::driver_ramdisk(parts, driver)?)?);
    }
    Ok(files)
}

fn boot_code(parts: &Parts, disk: &Utf8Path) -> Result<(), ImageError> {
    let code = parts.read(&["usr/lib/syslinux/mbr/mbr.bin", "usr/lib/SYSLINUX/mbr.bin"])?;
    let mut file = File::options().write(true).open(disk).at("cannot open", disk)?;
    file.write_all(&code[..code.len().min(BOOT_CODE_BYTES)]).at("cannot write", disk)
}

/// Copies a range of bytes into the disk, leaving holes where it has zeroes.
pub(crate) fn copy_range(
    source: &Utf8Path,
    range: Range<u64>,
    disk: &Utf8Path,
    offset: u64,
) -> Result<(), ImageError> {
    const CHUNK: usize = 64 * 1024;
    let mut from = File::open(source).at("cannot open", source)?;
    from.seek(SeekFrom::Start(range.start)).at("cannot read", source)?;
    let mut to = File::options().write(true).open(disk).at("cannot open", disk)?;
    let length = range.end - range.start;
    let mut buffer = vec![0; CHUNK];
    let mut position = 0;
    while position < length {
        let want = CHUNK.min((length - position) as usize);
        from.read_exact(&mut buffer[..want]).at("cannot read", source)?;
        if buffer[..want].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(offset + position)).at("cannot write", disk)?;
            to.write_all(&buffer[..want]).at("cannot write", disk)?;
        }
        position += want as u64;
    }
    Ok(())
}
