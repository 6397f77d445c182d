//! What a guest's hardware is, as data.

use serde::{Deserialize, Serialize};

/// The accelerator a guest runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's translation in software.
    Tcg,
}

impl Accelerator {
    /// libvirt's name of the domain type.
    #[must_use]
    pub fn domain_type(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "qemu",
        }
    }

    /// The CPU to show the guest: all that the accelerator can do.
    pub(crate) fn cpu_mode(self) -> &'static str {
        match self {
            Self::Kvm => "host-passthrough",
            Self::Tcg => "maximum",
        }
    }
}

impl std::fmt::Display for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// Firmware a guest boots with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// Disk controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// VMware's paravirtual SCSI.
    Pvscsi,
    /// The PC's IDE.
    Ide,
    /// SATA.
    Ahci,
    /// virtio SCSI, in the place of a hypervisor's own synthetic SCSI.
    VirtioScsi,
}

impl Controller {
    /// Kernel module a Linux guest needs to find its disks on this controller.
    #[must_use]
    pub fn driver(self) -> &'static str {
        match self {
            Self::Pvscsi => "vmw_pvscsi",
            Self::Ide => "ata_piix",
            Self::Ahci => "ahci",
            Self::VirtioScsi => "virtio_scsi",
        }
    }

    /// QEMU's controller device, at a slot that libvirt leaves free; `None` if the board has it built in.
    pub(super) fn device(self) -> Option<&'static str> {
        match self {
            Self::Pvscsi => Some("pvscsi,id=disks,addr=0x11"),
            Self::Ide => None,
            Self::Ahci => Some("ich9-ahci,id=disks,addr=0x11"),
            Self::VirtioScsi => Some("virtio-scsi-pci,id=disks,addr=0x11"),
        }
    }

    /// QEMU's device of disk number `index` on this controller.
    pub(super) fn disk_device(self, index: usize) -> String {
        match self {
            Self::Pvscsi | Self::VirtioScsi => format!("scsi-hd,bus=disks.0,scsi-id={index}"),
            // Master and slave of the first channel, then of the second.
            Self::Ide => format!("ide-hd,bus=ide.{},unit={}", index / 2, index % 2),
            Self::Ahci => format!("ide-hd,bus=disks.{index}"),
        }
    }
}

/// Network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nic {
    /// VMware's paravirtual card.
    Vmxnet3,
    /// The DEC 21140 that Hyper-V's legacy network adapter emulates.
    Tulip,
    /// Intel's gigabit card of a server.
    E1000,
    /// virtio.
    VirtioNet,
}

impl Nic {
    /// QEMU's device.
    pub(super) fn device(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "vmxnet3",
            Self::Tulip => "tulip",
            Self::E1000 => "e1000",
            Self::VirtioNet => "virtio-net-pci",
        }
    }
}

/// The identity a machine shows in its SMBIOS tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// System manufacturer.
    pub vendor: String,
    /// System product.
    pub product: String,
    /// Chassis asset tag, if the platform sets one.
    pub chassis_tag: Option<String>,
}

/// Everything a guest can tell of the platform beneath it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Firmware.
    pub firmware: Firmware,
    /// Disk controller.
    pub controller: Controller,
    /// Network card.
    pub nic: Nic,
    /// SMBIOS identity.
    pub identity: Identity,
    /// Memory in MiB.
    pub memory_mib: u64,
}
