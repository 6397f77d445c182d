//! `/dev/kvm` without udev: in containers it often belongs to root alone.
//!
//! libvirt runs QEMU as its own user. If that user may not open the device, libvirt finds its knowledge of QEMU
//! outdated at every look and asks QEMU anew: starting a guest then takes most of a minute. Where udev runs it
//! gives the device to the group `kvm`; where it does not, set-up does.

use anyhow::Result;

use crate::host::Host;
use crate::run::quietly;

const DEVICE: &str = "/dev/kvm";
const GROUP: &str = "kvm";

/// Whether the device is closed to libvirt's user and nobody else will open it.
pub fn is_needed(host: &dyn Host) -> bool {
    let unattended = host.is_root() && !host.exists("/run/udev/control") && host.exists(DEVICE);
    unattended && has_group(host) && !is_open(host)
}

fn has_group(host: &dyn Host) -> bool {
    let groups = host.read("/etc/group").unwrap_or_default();
    groups.lines().any(|line| line.split(':').next() == Some(GROUP))
}

/// Whether the group, or everybody, may read and write it.
fn is_open(host: &dyn Host) -> bool {
    let found = host.output(&["stat", "-c", "%G %a", DEVICE]).unwrap_or_default();
    let mut words = found.split_whitespace();
    let group = words.next().unwrap_or_default();
    let mode = words.next().and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or_default();
    mode & 0o006 == 0o006 || (group == GROUP && mode & 0o060 == 0o060)
}

/// The commands that open it.
pub fn commands() -> [[&'static str; 3]; 2] {
    [["chgrp", GROUP, DEVICE], ["chmod", "0660", DEVICE]]
}

/// Opens it, if that is needed.
pub fn open(host: &dyn Host) -> Result<()> {
    if is_needed(host) {
        for argv in commands() {
            quietly(&argv.join(" "), std::process::Command::new(argv[0]).args(&argv[1..]))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    fn device(stat: &str) -> Fixture {
        let asked = format!("stat -c %G %a {DEVICE}");
        Fixture::default().file(DEVICE, "").file("/etc/group", "root:x:0:\nkvm:x:993:\n").answer(&asked, stat)
    }

    #[test]
    fn a_device_of_root_alone_is_opened_to_the_group() {
        assert!(is_needed(&device("root 600")));
        assert!(is_needed(&device("input 660")));
    }

    #[test]
    fn a_device_that_is_open_is_left_alone() {
        assert!(!is_needed(&device("kvm 660")));
        assert!(!is_needed(&device("root 666")));
    }

    #[test]
    fn where_udev_or_somebody_else_rules_nothing_is_done() {
        assert!(!is_needed(&device("root 600").file("/run/udev/control", "")));
        assert!(!is_needed(&device("root 600").ordinary_user()));
        assert!(!is_needed(&Fixture::default()));
    }
}
