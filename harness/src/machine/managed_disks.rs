//! Disks that libvirt manages, with a write log between each device and libvirt's format node.
//!
//! `qemu:commandline` adds a `blklogwrites` node over the format node, and `qemu:override` makes it
//! the drive of libvirt's device. Everything that libvirt does to a disk happens below the log:
//! backup, checkpoints, resize, pull, disk-only snapshots. Two things do not work: QEMU refuses to
//! commit or to mirror a running machine's disk through libvirt ("Need a root block node"), because
//! the log is the root node. Commit while the machine is off.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};

use super::hardware::LibvirtBus;
use super::nodes::{disk_serial, escape, logged_node, write_log};
use super::{DiskSpec, GuestSpec};
use crate::qmp::Monitor;
use crate::tools::Format;
use crate::{Error, Result};

/// The parts of a domain's XML that attach its disks.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// Elements of `<devices>`.
    pub(super) devices: String,
    /// The element after `<qemu:commandline>`.
    pub(super) overrides: String,
}

/// Describes the disks of a machine, and adds their write logs to QEMU's arguments.
pub(super) fn elements(spec: &GuestSpec, arguments: &mut Vec<String>) -> Elements {
    let mut elements = Elements { devices: controllers(spec), overrides: String::new() };
    let mut overrides = String::new();
    for (index, disk) in spec.disks.iter().enumerate() {
        elements.devices.push_str(&disk_element(spec, index, disk));
        let Some(log) = &disk.write_log else { continue };
        let logged = logged_node(&disk.role);
        let node = write_log(&logged, &format_node(&spec.disks, &disk.role), log);
        arguments.extend(["-blockdev".to_owned(), node.to_string()]);
        let alias = device_alias(&disk.role);
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            overrides,
            "    <qemu:device alias='{alias}'><qemu:frontend>\
             <qemu:property name='drive' type='string' value='{logged}'/>\
             </qemu:frontend></qemu:device>"
        );
    }
    if !overrides.is_empty() {
        elements.overrides = format!("  <qemu:override>\n{overrides}  </qemu:override>\n");
    }
    elements
}

/// libvirt's alias of a disk's device. Only aliases that begin like this may be chosen.
fn device_alias(role: &str) -> String {
    format!("ua-{role}")
}

/// Name of the block node of a disk's format.
///
/// libvirt numbers the images of a machine when it starts, beginning with the last disk; the images
/// of one disk follow one another from the top. [`check`] verifies this on the running machine.
pub(super) fn format_node(disks: &[DiskSpec], role: &str) -> String {
    format!("libvirt-{}-format", number_of(disks, role))
}

/// libvirt's number of a disk's image.
fn number_of(disks: &[DiskSpec], role: &str) -> usize {
    let after = disks.iter().rev().take_while(|disk| disk.role != role);
    1 + after.map(|disk| 1 + disk.backing.len()).sum::<usize>()
}

/// Controllers that the board does not have built in, each once.
fn controllers(spec: &GuestSpec) -> String {
    let mut elements = String::new();
    let buses = [&spec.hardware.system_disk, &spec.hardware.other_disks];
    let mut models: Vec<_> = buses.iter().filter_map(|bus| bus.controller.libvirt_bus().model).collect();
    models.dedup();
    for (index, model) in models.into_iter().enumerate() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(elements, "    <controller type='scsi' index='{index}' model='{model}'/>");
    }
    elements
}

fn disk_element(spec: &GuestSpec, index: usize, disk: &DiskSpec) -> String {
    let (bus, _) = spec.hardware.place_of(index);
    let LibvirtBus { name, prefix, .. } = bus.controller.libvirt_bus();
    let letter = char::from(b'a' + u8::try_from(index % 26).unwrap_or_default());
    let model = bus.scsi_model().map_or_else(String::new, |(vendor, product)| {
        let vendor = vendor.map(|vendor| format!("<vendor>{}</vendor>", escape(vendor)));
        format!("\n      {}<product>{}</product>", vendor.unwrap_or_default(), escape(product))
    });
    format!(
        "    <disk type='file' device='disk'>\n      \
         <driver name='qemu' type='{format}' discard='unmap'/>\n      \
         <source file='{image}'/>{backing}\n      \
         <target dev='{prefix}{letter}' bus='{name}'/>\n      \
         <serial>{serial}</serial>{model}\n      \
         <boot order='{order}'/>\n      \
         <alias name='{alias}'/>\n    </disk>\n",
        format = disk.format.name(),
        image = escape(disk.image.as_str()),
        backing = backing_store(&disk.backing),
        serial = disk_serial(&disk.role),
        order = index + 1,
        alias = device_alias(&disk.role),
    )
}

/// The images below a disk, nested as libvirt writes them. The innermost element says that there
/// are no more, so that libvirt need not look.
fn backing_store(images: &[(Utf8PathBuf, Format)]) -> String {
    match images.split_first() {
        None => "<backingStore/>".to_owned(),
        Some(((image, format), below)) => format!(
            "<backingStore type='file'><format type='{}'/><source file='{}'/>{}</backingStore>",
            format.name(),
            escape(image.as_str()),
            backing_store(below)
        ),
    }
}

/// Verifies on the running machine that each disk's format node has the expected name, and that its
/// device writes through the log. Otherwise the log would not be the guest's write order.
pub(super) async fn check(monitor: &Monitor, spec: &GuestSpec) -> Result<()> {
    let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
    let devices = monitor.execute("query-block", json!({})).await?;
    for disk in &spec.disks {
        let format = format_node(&spec.disks, &disk.role);
        // The node of the file below it, of which QEMU shows the plain path.
        let file = format!("libvirt-{}-storage", number_of(&spec.disks, &disk.role));
        let top = if disk.write_log.is_some() { logged_node(&disk.role) } else { format.clone() };
        let wrong =
            |what: String| Error::WrongDisk { machine: spec.name.clone(), disk: disk.role.clone(), what };
        if !is_file_of(&nodes, &file, &disk.image) {
            return Err(wrong(format!("QEMU's node {format} is not {}", disk.image)));
        }
        if !is_drive(&devices, &device_alias(&disk.role), &top) {
            return Err(wrong(format!("its device does not write through QEMU's node {top}")));
        }
    }
    Ok(())
}

fn is_file_of(nodes: &Value, name: &str, image: &Utf8Path) -> bool {
    let mut nodes = nodes.as_array().into_iter().flatten();
    nodes.any(|node| node["node-name"] == name && node["file"] == image.as_str())
}

/// Whether the device with this alias has this node as its drive.
fn is_drive(devices: &Value, alias: &str, node: &str) -> bool {
    let mut devices = devices.as_array().into_iter().flatten();
    devices.any(|device| {
        let names_alias = device["qdev"].as_str().is_some_and(|path| path.split('/').any(|id| id == alias));
        names_alias && device["inserted"]["node-name"] == node
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(role: &str, backing: &[&str]) -> DiskSpec {
        DiskSpec {
            role: role.to_owned(),
            image: format!("/images/{role}.qcow2").into(),
            format: Format::Qcow2,
            backing: backing.iter().map(|image| ((*image).into(), Format::Qcow2)).collect(),
            write_log: Some(format!("/logs/{role}").into()),
        }
    }

    #[test]
    fn libvirt_numbers_images_from_the_last_disk_and_from_the_top_of_each() {
        let disks = [disk("system", &["/a"]), disk("data", &["/b", "/c"]), disk("more", &[])];
        let node = |role| format_node(&disks, role);
        assert_eq!(node("more"), "libvirt-1-format");
        assert_eq!(node("data"), "libvirt-2-format");
        assert_eq!(node("system"), "libvirt-5-format");
    }

    #[test]
    fn the_images_below_a_disk_are_listed_to_the_last() {
        let images = [("/b".into(), Format::Qcow2), ("/c".into(), Format::Raw)];
        assert_eq!(
            backing_store(&images),
            "<backingStore type='file'><format type='qcow2'/><source file='/b'/>\
             <backingStore type='file'><format type='raw'/><source file='/c'/><backingStore/>\
             </backingStore></backingStore>"
        );
    }

    #[test]
    fn a_device_that_does_not_write_through_the_log_is_found() {
        let devices = |node: &str| json!([{"qdev": "ua-data", "inserted": {"node-name": node}}]);
        assert!(is_drive(&devices("logged-data"), "ua-data", "logged-data"));
        assert!(!is_drive(&devices("libvirt-1-format"), "ua-data", "logged-data"));
        assert!(!is_drive(&devices("logged-data"), "ua-dat", "logged-data"));
    }
}
