//! Compares the hardware that a guest sees with the description of its stand-in.

use harness::machine::{Firmware, Hardware};
use standins::Profile;
use witness::protocol::Hello;

use crate::real::workload::DISKS;
use crate::rules::RuleLog;
use crate::rules::ids::ST_01;

/// ST-01: the guest sees the hardware that its stand-in's profile describes.
pub(crate) fn check(rules: &mut RuleLog, profile: &Profile, hello: &Hello) {
    let wrong = differences(&profile.hardware, hello);
    let found = if wrong.is_empty() { "as described".to_owned() } else { wrong.join("; ") };
    rules.check(ST_01, wrong.is_empty(), format!("{}: {found}", profile.label));
}

/// What the guest sees otherwise than described.
fn differences(expected: &Hardware, hello: &Hello) -> Vec<String> {
    let identity = &expected.identity;
    let firmware = match expected.firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    };
    let mut pairs = vec![
        ("vendor".to_owned(), identity.vendor.clone(), &hello.vendor),
        ("product".to_owned(), identity.product.clone(), &hello.product),
        ("chassis tag".to_owned(), identity.chassis_tag.clone().unwrap_or_default(), &hello.chassis_tag),
        ("firmware".to_owned(), firmware.to_owned(), &hello.firmware),
    ];
    let none = String::new();
    let mut sectors = Vec::new();
    for (role, bus) in DISKS.into_iter().zip([&expected.system_disk, &expected.other_disks]) {
        let disk = hello.disks.iter().find(|disk| disk.role == role);
        let driver = disk.map_or(&none, |disk| &disk.driver);
        pairs.push((format!("driver of disk {role}"), bus.controller.driver().to_owned(), driver));
        sectors.push((format!("sector of disk {role}"), bus.sector, disk.map_or(0, |disk| disk.sector)));
        if let Some(wanted) = bus.model_in_linux() {
            let model = disk.map_or(&none, |disk| &disk.model);
            pairs.push((format!("model of disk {role}"), wanted, model));
        }
    }
    let card = hello.nics.first().map_or(&none, |nic| &nic.driver);
    pairs.push(("driver of the network card".to_owned(), expected.nic.driver().to_owned(), card));
    let wrong = pairs.into_iter().filter(|(_, wanted, seen)| wanted != *seen);
    let wrong = wrong.map(|(what, wanted, seen)| format!("{what} is {seen:?}, described as {wanted:?}"));
    let odd = sectors.into_iter().filter(|(_, wanted, seen)| wanted != seen);
    wrong.chain(odd.map(|(what, wanted, seen)| format!("{what} has {seen} bytes, not {wanted}"))).collect()
}

#[cfg(test)]
mod tests {
    use harness::machine::USUAL_SECTOR;
    use standins::profile;
    use witness::protocol::{GuestDisk, GuestNic};

    use super::*;

    type Change = fn(&mut Hello);

    fn hello_on_vmware() -> Hello {
        let disk = |role: &str| GuestDisk {
            role: role.to_owned(),
            driver: "vmw_pvscsi".to_owned(),
            device: "sda".to_owned(),
            model: "VMware Virtual disk".to_owned(),
            bytes: 1,
            stable_writes: true,
            sector: USUAL_SECTOR,
        };
        let nic =
            GuestNic { driver: "vmxnet3".to_owned(), model: "15ad:07b0".to_owned(), ..GuestNic::default() };
        Hello {
            protocol: 1,
            agent_version: String::new(),
            uptime_ms: 1,
            boot_id: String::new(),
            kernel: String::new(),
            vendor: "VMware, Inc.".to_owned(),
            product: "VMware Virtual Platform".to_owned(),
            chassis_tag: String::new(),
            firmware: "bios".to_owned(),
            boot_drivers: vec![],
            disks: vec![disk("system"), disk("data")],
            nics: vec![nic],
        }
    }

    #[test]
    fn a_guest_on_the_described_hardware_shows_no_differences() {
        assert_eq!(differences(&profile::vmware().hardware, &hello_on_vmware()), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named() {
        let changes: [(&str, Change); 7] = [
            ("vendor", |hello| hello.vendor.clear()),
            ("chassis tag", |hello| hello.chassis_tag.push('x')),
            ("firmware", |hello| hello.firmware = "uefi".to_owned()),
            ("sector of disk data", |hello| hello.disks[1].sector = 4096),
            ("driver of disk data", |hello| hello.disks[1].driver = "ahci".to_owned()),
            ("model of disk system", |hello| hello.disks.remove(0).model.clear()),
            ("driver of the network card", |hello| hello.nics.clear()),
        ];
        for (what, change) in changes {
            let mut hello = hello_on_vmware();
            change(&mut hello);
            let wrong = differences(&profile::vmware().hardware, &hello);
            assert!(wrong.iter().any(|line| line.starts_with(what)), "{what}: {wrong:?}");
        }
    }
}
