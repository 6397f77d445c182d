//! A machine without an operating system, for tests of QEMU and libvirt themselves.

use camino::{Utf8Path, Utf8PathBuf};
use harness::machine::{Controller, DiskManager, DiskSpec, Firmware, GuestSpec, Hardware, Identity, Nic};
use harness::tools::{self, Format};

/// A machine `what` with one empty disk in `dir`, which is made. Its firmware finds nothing to
/// boot, and waits.
pub async fn empty_machine(dir: &Utf8Path, what: &str) -> GuestSpec {
    let disk = dir.join("empty.qcow2");
    tools::create(&disk, Format::Qcow2, 1 << 20).await.expect("an image");
    GuestSpec {
        name: format!("roundtrip-{}-{what}", dir.file_name().expect("a directory of its own")),
        hardware: Hardware {
            firmware: Firmware::Bios,
            system_disk: Controller::Ide.into(),
            other_disks: Controller::Ide.into(),
            nic: Nic::VirtioNet,
            identity: Identity { vendor: "Roundtrip".into(), product: "test".into(), chassis_tag: None },
            enlightened: false,
            memory_mib: 64,
        },
        enlightenments: Err("not needed in this test".to_owned()),
        boot_entry: None,
        disks: vec![system_disk(disk)],
        disk_manager: DiskManager::CommandLine,
        forwards: vec![],
        subnet: "192.0.2.0/24".into(),
        address: None,
        mac: "52:54:00:00:02:02".into(),
        more_nics: vec![],
        dir: dir.join("logs"),
    }
}

fn system_disk(image: Utf8PathBuf) -> DiskSpec {
    DiskSpec { role: "system".into(), image, format: Format::Qcow2, backing: vec![], write_log: None }
}
