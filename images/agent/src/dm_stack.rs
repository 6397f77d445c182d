//! The device-mapper stack below a disk: an origin of which snapshots can be taken, and a linear
//! device for each partition.

use std::fs;
use std::path::{Path, PathBuf};

use crate::mapper::{Mapper, Target};

/// Directory in which the kernel describes block devices.
const BLOCKS: &str = "/sys/class/block";
/// Directory of the nodes of mapped devices.
const MAPPED: &str = "/dev/mapper";

/// Builds the stack for the disk at `path` and its partitions, unless it exists. File systems
/// mounted from `/dev/mapper/NAME` instead of `/dev/NAME` write through the agent.
pub(crate) fn build(path: &str) -> Result<(), String> {
    let disk = path.trim_start_matches("/dev/");
    if mapped(disk).exists() {
        return Ok(());
    }
    let mapper = Mapper::open()?;
    let raw = Path::new("/dev").join(disk);
    let origin = Target {
        kind: "snapshot-origin",
        sectors: sectors(Path::new(BLOCKS).join(disk).as_path())?,
        parameters: raw.display().to_string(),
    };
    make(&mapper, disk, &origin)?;
    for partition in partitions(disk)? {
        let sysfs = Path::new(BLOCKS).join(&partition);
        let start = number(&sysfs.join("start"))?;
        let parameters = format!("{} {start}", mapped(disk).display());
        make(&mapper, &partition, &Target { kind: "linear", sectors: sectors(&sysfs)?, parameters })?;
    }
    Ok(())
}

/// Names of the disks that have a stack.
pub(crate) fn disks() -> Result<Vec<String>, String> {
    let names = children(Path::new("/sys/block"))?;
    Ok(names.into_iter().filter(|name| !name.starts_with("dm-") && mapped(name).exists()).collect())
}

/// Path of the node of a mapped device.
pub(crate) fn mapped(name: &str) -> PathBuf {
    Path::new(MAPPED).join(name)
}

/// Length of the device that `sysfs` describes, in sectors.
pub(crate) fn sectors(sysfs: &Path) -> Result<u64, String> {
    number(&sysfs.join("size"))
}

/// Serial number of a disk, from its unit serial number page.
pub(crate) fn serial(disk: &str) -> Result<String, String> {
    let path = Path::new(BLOCKS).join(disk).join("device/vpd_pg80");
    let page = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    serial_in(&page).ok_or_else(|| format!("disk {disk} reports no serial number"))
}

fn serial_in(page: &[u8]) -> Option<String> {
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let text = String::from_utf8_lossy(page.get(4..4 + length)?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn make(mapper: &Mapper, name: &str, target: &Target<'_>) -> Result<(), String> {
    let node = mapper.create(name, target)?;
    mapper.resume(name)?;
    let link = mapped(name);
    std::os::unix::fs::symlink(&node, &link).map_err(|e| format!("cannot link {}: {e}", link.display()))
}

fn partitions(disk: &str) -> Result<Vec<String>, String> {
    let folder = Path::new(BLOCKS).join(disk);
    let names = children(&folder)?;
    Ok(names.into_iter().filter(|name| folder.join(name).join("partition").exists()).collect())
}

fn children(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot list {}: {e}", folder.display()))?;
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn number(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    text.trim().parse().map_err(|e| format!("{} holds {text:?}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_number_is_read_from_its_page() {
        let mut page = vec![0, 0x80, 0, 12];
        page.extend_from_slice(b"  RT-system ");
        assert_eq!(serial_in(&page).as_deref(), Some("RT-system"));
        assert_eq!(serial_in(&page[..10]), None);
        assert_eq!(serial_in(&[0, 0x80, 0, 2, b' ', b' ']), None);
        assert_eq!(serial_in(&[]), None);
    }
}
