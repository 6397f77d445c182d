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
    Profile {
        label: "vmware-standin",
        kind: PlatformKind::Vmware,
        format: Format::Vmdk,
        hardware: hardware(Controller::Pvscsi, Nic::Vmxnet3, "VMware, Inc.", "VMware Virtual Platform", None),
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
        hardware: hardware(Controller::Ide, Nic::Tulip, "Microsoft Corporation", "Virtual Machine", None),
        subnet: "192.0.2.0/24",
    }
}

/// Azure, first-generation size: managed disks as qcow2 chains on IDE, Azure's identity.
#[must_use]
pub fn azure() -> Profile {
    Profile {
        label: "azure-standin",
        kind: PlatformKind::Azure,
        format: Format::Qcow2,
        hardware: hardware(
            Controller::Ide,
            Nic::Tulip,
            "Microsoft Corporation",
            "Virtual Machine",
            Some(AZURE_CHASSIS_TAG),
        ),
        subnet: "198.51.100.0/24",
    }
}

/// The profile of a platform by its name in `scenarios.toml`.
#[must_use]
pub fn by_name(name: &str) -> Option<Profile> {
    match name {
        "vmware" => Some(vmware()),
        "hyperv" => Some(hyperv()),
        "azure" => Some(azure()),
        _ => None,
    }
}

fn hardware(
    controller: Controller,
    nic: Nic,
    vendor: &str,
    product: &str,
    chassis_tag: Option<&str>,
) -> Hardware {
    Hardware {
        firmware: Firmware::Bios,
        controller,
        nic,
        identity: Identity {
            vendor: vendor.to_owned(),
            product: product.to_owned(),
            chassis_tag: chassis_tag.map(ToOwned::to_owned),
        },
        memory_mib: 256,
    }
}
