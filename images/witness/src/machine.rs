//! The hello: the guest's view of its machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use witness::protocol::{FromGuest, GuestDisk, GuestNic, Hello, PROTOCOL};

use crate::paths::ROLES;

const MEMORY: &str = "/run/roundtrip";
const SECTOR: u64 = 512;

/// The hello, with current values.
pub(crate) fn hello() -> FromGuest {
    let dmi = |name: &str| text(format!("/sys/class/dmi/id/{name}"));
    let efi = Path::new("/sys/firmware/efi").exists();
    FromGuest::Hello(Hello {
        protocol: PROTOCOL,
        agent_version: variable(&text(format!("{MEMORY}/env")), "AGENT_VERSION"),
        uptime_ms: uptime_ms(),
        boot_id: boot_id(),
        kernel: text("/proc/sys/kernel/osrelease"),
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        chassis_tag: dmi("chassis_asset_tag"),
        firmware: if efi { "uefi" } else { "bios" }.to_owned(),
        boot_drivers: text(format!("{MEMORY}/boot-drivers")).split_whitespace().map(str::to_owned).collect(),
        disks: disks(),
        nics: nics(),
    })
}

/// What the guest's own tools object to on its disks.
pub(crate) fn complaints() -> Vec<String> {
    text(format!("{MEMORY}/complaints")).lines().map(str::to_owned).collect()
}

/// Milliseconds since the kernel started.
pub(crate) fn uptime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Identity of this boot.
pub(crate) fn boot_id() -> String {
    text("/proc/sys/kernel/random/boot_id")
}

/// Value of `name` in lines of `NAME=value`; empty if there is none.
fn variable(env: &str, name: &str) -> String {
    let mut pairs = env.lines().rev().filter_map(|line| line.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn disks() -> Vec<GuestDisk> {
    let devices = ["root-device", "data-device"].map(|file| text(format!("{MEMORY}/{file}")));
    let present = ROLES.iter().zip(devices).filter(|(_, device)| !device.is_empty());
    present.flat_map(|(role, device)| disks_below(role, device.trim_start_matches("/dev/"))).collect()
}

/// The disk with the role, or each of the disks of the logical volume that has it.
fn disks_below(role: &str, block: &str) -> Vec<GuestDisk> {
    let below = fs::read_dir(format!("/sys/class/block/{block}/slaves"));
    let mut below: Vec<String> = below
        .map(|names| names.filter_map(Result::ok).map(|name| name.file_name().to_string_lossy().into_owned()))
        .map(Iterator::collect)
        .unwrap_or_default();
    if below.is_empty() {
        below.push(block.to_owned());
    }
    below.sort();
    let named = |(number, block): (usize, &String)| match number {
        1 => disk(role, block),
        more => disk(&format!("{role}-{more}"), block),
    };
    (1..).zip(&below).filter_map(named).collect()
}

fn disk(role: &str, block: &str) -> Option<GuestDisk> {
    let mut path = fs::canonicalize(format!("/sys/class/block/{block}")).ok()?;
    if path.join("partition").exists() {
        path.pop();
    }
    Some(GuestDisk {
        role: role.to_owned(),
        driver: controller_driver(&path),
        device: path.file_name()?.to_string_lossy().into_owned(),
        model: format!("{} {}", text(path.join("device/vendor")), text(path.join("device/model")))
            .trim()
            .to_owned(),
        bytes: text(path.join("size")).parse::<u64>().unwrap_or(0) * SECTOR,
        stable_writes: text(path.join("queue/stable_writes")) == "1",
        sector: text(path.join("queue/logical_block_size")).parse().unwrap_or(0),
    })
}

/// The driver of the nearest device above `disk` that is on a hardware bus.
fn controller_driver(disk: &Path) -> String {
    let on_bus =
        |device: &Path| matches!(link_name(&device.join("subsystem")).as_deref(), Some("pci" | "virtio"));
    let mut above = disk.ancestors().filter(|device| on_bus(device));
    above.find_map(|device| link_name(&device.join("driver"))).unwrap_or_default()
}

fn nics() -> Vec<GuestNic> {
    let mut cards: Vec<PathBuf> = fs::read_dir("/sys/class/net")
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    cards.retain(|card| card.join("device").exists());
    cards.sort();
    cards.iter().map(|card| nic(card)).collect()
}

fn nic(card: &Path) -> GuestNic {
    let name = card.file_name().unwrap_or_default().to_string_lossy();
    GuestNic {
        mac: text(card.join("address")),
        address: text(format!("{MEMORY}/net/{name}")),
        name: name.into_owned(),
        driver: link_name(&card.join("device/driver")).unwrap_or_default(),
        model: pci_model(&card.join("device")),
    }
}

/// Vendor and device id of the PCI device at or above `device`; a virtio device has one above it.
fn pci_model(device: &Path) -> String {
    let Ok(device) = fs::canonicalize(device) else { return String::new() };
    let on_pci = |device: &&Path| link_name(&device.join("subsystem")).as_deref() == Some("pci");
    let Some(pci) = device.ancestors().find(on_pci) else { return String::new() };
    let id = |name: &str| text(pci.join(name)).trim_start_matches("0x").to_owned();
    format!("{}:{}", id("vendor"), id("device"))
}

fn link_name(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Removes the rules of the guest's own firewall.
pub(crate) fn open_firewall() -> Result<(), String> {
    let nft = Command::new("/usr/sbin/nft").args(["delete", "table", "inet", "firewall"]).output();
    let output = nft.map_err(|error| format!("cannot run nft: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(format!("nft cannot remove the firewall's rules: {}: {}", output.status, reason.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_equal_variables_counts() {
        let env = "DHCP=no\nAGENT_VERSION=9.7\n\nodd line\nAGENT_VERSION=9.8\n";
        assert_eq!(variable(env, "AGENT_VERSION"), "9.8");
        assert_eq!(variable(env, "SSH"), "");
    }

    #[test]
    fn the_hello_works_on_any_machine() {
        let FromGuest::Hello(hello) = hello() else { panic!("no hello") };
        assert_eq!(hello.protocol, PROTOCOL);
        assert!(!hello.boot_id.is_empty() && !hello.kernel.is_empty());
    }
}
