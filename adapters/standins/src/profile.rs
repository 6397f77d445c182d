//! What makes each stand-in different, as data.

use contract::PlatformKind;
use harness::machine::{Controller, Firmware, Hardware, Identity, Nic};
use harness::tools::Format;

/// The chassis asset tag by which guests recognise Azure.
const AZURE_CHASSIS_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// One stand-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Name in reports; always says that it is a stand-in.
    pub label: &'static str,
    /// What it stands in for.
    pub kind: PlatformKind,
    /// Format of its machines' own disks.
    pub format: Format,
    /// Hardware of its machines.
    pub hardware: Hardware,
    /// Network of its machines, from the documentation ranges.
    pub subnet: &'static str,
}

/// VMware: VMDK on PVSCSI, vmxnet3.
#[must_use]
pub fn vmware() -> Profile {
    let identity = identity("VMware, Inc.", "VMware Virtual Platform", None);
    Profile {
        label: "vmware-standin",
        kind: PlatformKind::Vmware,
        format: Format::Vmdk,
        hardware: hardware(Firmware::Bios, Controller::Pvscsi, Nic::Vmxnet3, identity),
        subnet: "192.0.2.0/24",
    }
}

/// Hyper-V, generation 1: VHDX on IDE, the legacy network adapter, BIOS.
#[must_use]
pub fn hyperv() -> Profile {
    Profile {
        label: "hyperv-standin",
        kind: PlatformKind::HyperV,
        format: Format::Vhdx,
        hardware: hardware(Firmware::Bios, Controller::Ide, Nic::Tulip, microsoft(None)),
        subnet: "192.0.2.0/24",
    }
}

/// Hyper-V, generation 2: VHDX on SCSI, UEFI. virtio stands in for the synthetic devices, which QEMU does not have.
#[must_use]
pub fn hyperv_gen2() -> Profile {
    let hardware = hardware(Firmware::Uefi, Controller::VirtioScsi, Nic::VirtioNet, microsoft(None));
    Profile { label: "hyperv-gen2-standin", hardware, ..hyperv() }
}

/// Azure, a first-generation size: managed disks as qcow2 chains on IDE, Azure's identity.
#[must_use]
pub fn azure() -> Profile {
    Profile {
        label: "azure-standin",
        kind: PlatformKind::Azure,
        format: Format::Qcow2,
        hardware: hardware(Firmware::Bios, Controller::Ide, Nic::Tulip, microsoft(Some(AZURE_CHASSIS_TAG))),
        subnet: "198.51.100.0/24",
    }
}

/// Another region of Azure.
#[must_use]
pub fn azure_west() -> Profile {
    Profile { label: "azure-west-standin", subnet: "192.0.2.0/24", ..azure() }
}

/// Azure, a second-generation size: SCSI, UEFI.
#[must_use]
pub fn azure_gen2() -> Profile {
    let identity = microsoft(Some(AZURE_CHASSIS_TAG));
    let hardware = hardware(Firmware::Uefi, Controller::VirtioScsi, Nic::VirtioNet, identity);
    Profile { label: "azure-gen2-standin", hardware, ..azure() }
}

/// The profile of a platform by its name in `scenarios.toml`.
#[must_use]
pub fn by_name(name: &str) -> Option<Profile> {
    match name {
        "vmware" => Some(vmware()),
        "hyperv" => Some(hyperv()),
        "hyperv-gen2" => Some(hyperv_gen2()),
        "azure" => Some(azure()),
        "azure-west" => Some(azure_west()),
        "azure-gen2" => Some(azure_gen2()),
        _ => None,
    }
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
    Hardware { firmware, controller, nic, identity, memory_mib: 256 }
}
