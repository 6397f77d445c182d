//! Access to `/dev/kvm` on machines without udev.
//!
//! libvirt runs QEMU as its own user. If that user cannot open the device, libvirt considers its cache of QEMU's
//! capabilities outdated at every start of a guest and probes QEMU again, which takes most of a minute. udev gives the
//! device to the group `kvm`. In containers without udev it often belongs to root alone, so set-up does the same.

use anyhow::Result;

use crate::process::quietly;
use crate::system::System;

const DEVICE: &str = "/dev/kvm";
const GROUP: &str = "kvm";

/// Whether libvirt's user cannot open the device and no udev will change that.
pub fn is_needed(system: &dyn System) -> bool {
    let unattended = system.is_root() && !system.exists("/run/udev/control") && system.exists(DEVICE);
    unattended && has_group(system) && !is_open(system)
}

fn has_group(system: &dyn System) -> bool {
    let groups = system.read("/etc/group").unwrap_or_default();
    groups.lines().any(|line| line.split(':').next() == Some(GROUP))
}

/// Whether the group `kvm`, or every user, can read and write the device.
fn is_open(system: &dyn System) -> bool {
    let status = system.output(&["stat", "-c", "%G %a", DEVICE]).unwrap_or_default();
    let mut words = status.split_whitespace();
    let group = words.next().unwrap_or_default();
    let mode = words.next().and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or_default();
    mode & 0o006 == 0o006 || (group == GROUP && mode & 0o060 == 0o060)
}

/// The commands that give access.
pub fn commands() -> [[&'static str; 3]; 2] {
    [["chgrp", GROUP, DEVICE], ["chmod", "0660", DEVICE]]
}

/// Gives access, if it is needed.
pub fn open(system: &dyn System) -> Result<()> {
    if is_needed(system) {
        for argv in commands() {
            quietly(&argv.join(" "), std::process::Command::new(argv[0]).args(&argv[1..]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::fixture::Fixture;

    fn device(stat: &str) -> Fixture {
        let command = format!("stat -c %G %a {DEVICE}");
        Fixture::default()
            .file(DEVICE, "")
            .file("/etc/group", "root:x:0:\nkvm:x:993:\n")
            .answer(&command, stat)
    }

    #[test]
    fn a_device_of_root_alone_is_given_to_the_group() {
        assert!(is_needed(&device("root 600")));
        assert!(is_needed(&device("input 660")));
    }

    #[test]
    fn a_device_with_access_is_not_changed() {
        assert!(!is_needed(&device("kvm 660")));
        assert!(!is_needed(&device("root 666")));
    }

    #[test]
    fn nothing_is_done_with_udev_or_as_an_ordinary_user_or_without_the_device() {
        assert!(!is_needed(&device("root 600").file("/run/udev/control", "")));
        assert!(!is_needed(&device("root 600").ordinary_user()));
        assert!(!is_needed(&Fixture::default()));
    }
}
