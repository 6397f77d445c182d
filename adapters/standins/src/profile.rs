//! The differences between stand-ins, as data.

use contract::{AddressRange, PlatformKind};
use harness::machine::{Controller, DiskBus, DiskManager, Firmware, Hardware, Identity, Nic};
use harness::tools::Format;

/// The chassis asset tag by which guests recognise Azure.
const AZURE_CHASSIS_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Model of Hyper-V's IDE disks.
const MICROSOFT_ATA: &str = "Virtual HD";
/// Model of Hyper-V's SCSI disks.
const MICROSOFT_SCSI: &str = "Msft Virtual Disk";

/// Size limit of Hyper-V's change log. The real one is half of a disk; this one can be reached by a
/// guest in seconds.
const REPLICA_LOG: TrackingMechanism = TrackingMechanism::ReplicaLog { percent: 12 };

/// The component that takes snapshots and tracks changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackingMechanism {
    /// The hypervisor, that is QEMU, with copy-before-write and dirty bitmaps.
    Hypervisor,
    /// The hypervisor with a change log of limited size: when more than this share of a disk has
    /// changed since the last snapshot, the log is discarded, and the next snapshot has no change
    /// information.
    ReplicaLog {
        /// Percent of a disk's size.
        percent: u64,
    },
    /// The replication agent inside the machine. No machine or volume can be created, opened or
    /// snapshotted from outside, and the disks of a machine that is off cannot be read.
    Agent,
}

/// The description of a stand-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name in reports, which always says that it is a stand-in.
    pub label: &'static str,
    /// The product that it represents.
    pub kind: PlatformKind,
    /// Format of its machines' own disks.
    pub format: Format,
    /// Hardware of its machines.
    pub hardware: Hardware,
    /// The component that takes snapshots and tracks changes.
    pub tracking: TrackingMechanism,
    /// Who attaches the disks of its machines: libvirt, if its own interfaces must work on them.
    pub disk_manager: DiskManager,
    /// Addresses of its production network.
    pub range: AddressRange,
}

/// VMware: VMDK on PVSCSI, vmxnet3.
#[must_use]
pub fn vmware() -> Profile {
    let identity = identity("VMware, Inc.", "VMware Virtual Platform", None);
    Profile {
        label: "vmware-standin",
        kind: PlatformKind::Vmware,
        format: Format::Vmdk,
        hardware: hardware(Firmware::Bios, Controller::Pvscsi, Nic::Vmxnet3, identity)
            .with_disks_called("VMware Virtual disk"),
        tracking: TrackingMechanism::Hypervisor,
        disk_manager: DiskManager::CommandLine,
        range: AddressRange::TEST_NET_1,
    }
}

/// A physical server: raw disks on SATA, a gigabit card, BIOS, the identity of a server vendor, and
/// no hypervisor.
#[must_use]
pub fn physical() -> Profile {
    let identity = identity("Supermicro", "SYS-5019P-MT", None);
    Profile {
        label: "physical-standin",
        kind: PlatformKind::Physical,
        format: Format::Raw,
        hardware: hardware(Firmware::Bios, Controller::Ahci, Nic::E1000, identity)
            .with_disks_called("SAMSUNG MZ7LH960"),
        tracking: TrackingMechanism::Agent,
        disk_manager: DiskManager::CommandLine,
        range: AddressRange::TEST_NET_1,
    }
}

/// VMware with UEFI. The firmware used here cannot boot from PVSCSI, so the system disk is on SATA,
/// which VMware offers as well, and the others are on PVSCSI.
#[must_use]
pub fn vmware_uefi() -> Profile {
    let identity = identity("VMware, Inc.", "VMware7,1", None);
    let hardware = hardware(Firmware::Uefi, Controller::Pvscsi, Nic::Vmxnet3, identity);
    let hardware = hardware.with_disks_called("VMware Virtual disk");
    let sata =
        DiskBus { model: Some("VMware Virtual SATA Hard Drive".to_owned()), ..Controller::Ahci.into() };
    Profile { label: "vmware-uefi-standin", hardware: Hardware { system_disk: sata, ..hardware }, ..vmware() }
}

/// Hyper-V, generation 1: VHDX on IDE, the legacy network adapter, BIOS.
#[must_use]
pub fn hyperv() -> Profile {
    Profile {
        label: "hyperv-standin",
        kind: PlatformKind::HyperV,
        format: Format::Vhdx,
        hardware: hardware(Firmware::Bios, Controller::Ide, Nic::Tulip, microsoft(None))
            .with_disks_called(MICROSOFT_ATA)
            .enlightened(),
        tracking: REPLICA_LOG,
        disk_manager: DiskManager::CommandLine,
        range: AddressRange::TEST_NET_1,
    }
}

/// Hyper-V, generation 2: VHDX on SCSI, UEFI. virtio replaces the synthetic devices, which QEMU
/// does not have.
#[must_use]
pub fn hyperv_gen2() -> Profile {
    let hardware = hardware(Firmware::Uefi, Controller::VirtioScsi, Nic::VirtioNet, microsoft(None));
    let hardware = hardware.with_disks_called(MICROSOFT_SCSI).enlightened();
    Profile { label: "hyperv-gen2-standin", hardware, ..hyperv() }
}

/// Azure, a first-generation size: managed disks as qcow2 chains on IDE, with Azure's identity.
#[must_use]
pub fn azure() -> Profile {
    Profile {
        label: "azure-standin",
        kind: PlatformKind::Azure,
        format: Format::Qcow2,
        hardware: hardware(Firmware::Bios, Controller::Ide, Nic::Tulip, microsoft(Some(AZURE_CHASSIS_TAG)))
            .with_disks_called(MICROSOFT_ATA)
            .enlightened(),
        tracking: TrackingMechanism::Hypervisor,
        disk_manager: DiskManager::CommandLine,
        range: AddressRange::TEST_NET_2,
    }
}

/// Another region of Azure.
#[must_use]
pub fn azure_west() -> Profile {
    Profile { label: "azure-west-standin", range: AddressRange::TEST_NET_1, ..azure() }
}

/// Azure, a second-generation size: SCSI, UEFI.
#[must_use]
pub fn azure_gen2() -> Profile {
    let identity = microsoft(Some(AZURE_CHASSIS_TAG));
    let hardware = hardware(Firmware::Uefi, Controller::VirtioScsi, Nic::VirtioNet, identity)
        .with_disks_called(MICROSOFT_SCSI)
        .enlightened();
    Profile { label: "azure-gen2-standin", hardware, ..azure() }
}

/// KVM: qcow2 on virtio SCSI, as an ordinary host of libvirt has it. libvirt manages the disks, so
/// that products work that use its backup and checkpoint interfaces.
#[must_use]
pub fn kvm() -> Profile {
    Profile {
        label: "kvm-standin",
        kind: PlatformKind::Kvm,
        format: Format::Qcow2,
        hardware: hardware(
            Firmware::Bios,
            Controller::VirtioScsi,
            Nic::VirtioNet,
            identity("QEMU", "Standard PC (i440FX + PIIX, 1996)", None),
        ),
        tracking: TrackingMechanism::Hypervisor,
        disk_manager: DiskManager::Libvirt,
        range: AddressRange::TEST_NET_1,
    }
}

/// Another site of KVM hosts.
#[must_use]
pub fn kvm_second() -> Profile {
    Profile { label: "kvm-second-standin", range: AddressRange::TEST_NET_2, ..kvm() }
}

/// A function that describes a stand-in.
type Describe = fn() -> Profile;

/// Every stand-in, by its name in `scenarios.toml`.
pub const ALL: [(&str, Describe); 10] = [
    ("vmware", vmware),
    ("physical", physical),
    ("vmware-uefi", vmware_uefi),
    ("hyperv", hyperv),
    ("hyperv-gen2", hyperv_gen2),
    ("azure", azure),
    ("azure-west", azure_west),
    ("azure-gen2", azure_gen2),
    ("kvm", kvm),
    ("kvm-second", kvm_second),
];

/// The profile of a stand-in by its name in `scenarios.toml`.
#[must_use]
pub fn by_name(name: &str) -> Option<Profile> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, describe)| describe())
}

fn microsoft(chassis_tag: Option<&str>) -> Identity {
    identity("Microsoft Corporation", "Virtual Machine", chassis_tag)
}

fn identity(vendor: &str, product: &str, chassis_tag: Option<&str>) -> Identity {
    Identity {
        vendor: vendor.to_owned(),
        product: product.to_owned(),
        chassis_tag: chassis_tag.map(ToOwned::to_owned),
    }
}

fn hardware(firmware: Firmware, controller: Controller, nic: Nic, identity: Identity) -> Hardware {
    let (system_disk, other_disks) = (controller.into(), controller.into());
    Hardware { firmware, system_disk, other_disks, nic, identity, enlightened: false, memory_mib: 256 }
}
