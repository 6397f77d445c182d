//! Hardware of a guest, as data.

use serde::{Deserialize, Serialize};

/// The accelerator a guest runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor's own virtualisation.
    Kvm,
    /// QEMU's software translation.
    Tcg,
}

impl Accelerator {
    /// libvirt's name for the domain type.
    #[must_use]
    pub fn domain_type(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "qemu",
        }
    }

    /// The CPU model to show the guest: everything the accelerator supports.
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
    /// virtio SCSI, which stands in for a hypervisor's own synthetic SCSI.
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

    /// QEMU's controller device; `None` if the board has it built in.
    pub(super) fn device(self) -> Option<&'static str> {
        match self {
            Self::Pvscsi => Some("pvscsi"),
            Self::Ide => None,
            Self::Ahci => Some("ich9-ahci"),
            Self::VirtioScsi => Some("virtio-scsi-pci"),
        }
    }

    /// Whether QEMU's device can run its disks in an I/O thread. A write and its record in the
    /// write log then do not wait for the lock that the processor, the monitor and all other
    /// devices share. Disks that libvirt manages run without one.
    #[must_use]
    pub fn supports_io_thread(self) -> bool {
        match self {
            Self::VirtioScsi => true,
            Self::Pvscsi | Self::Ide | Self::Ahci => false,
        }
    }

    /// The bus as libvirt describes it.
    pub(super) fn libvirt_bus(self) -> LibvirtBus {
        let bus = |name, prefix, model| LibvirtBus { name, prefix, model };
        match self {
            Self::Pvscsi => bus("scsi", "sd", Some("vmpvscsi")),
            Self::Ide => bus("ide", "hd", None),
            Self::Ahci => bus("sata", "sd", None),
            Self::VirtioScsi => bus("scsi", "sd", Some("virtio-scsi")),
        }
    }

    /// Whether its disks are SCSI disks; ATA disks otherwise.
    fn is_scsi(self) -> bool {
        matches!(self, Self::Pvscsi | Self::VirtioScsi)
    }
}

/// A disk bus as libvirt describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LibvirtBus {
    /// libvirt's name of the bus.
    pub(super) name: &'static str,
    /// What the names of its targets begin with.
    pub(super) prefix: &'static str,
    /// Model of a SCSI controller.
    pub(super) model: Option<&'static str>,
}

/// Length of the model name of a SCSI disk.
const SCSI_MODEL: usize = 16;

/// A controller, and the model name of the disks on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskBus {
    /// Controller.
    pub controller: Controller,
    /// Model of each disk on it; `None`: QEMU's default. For a SCSI disk the first word is the
    /// vendor, of up to 8 letters, and up to 16 letters follow.
    pub model: Option<String>,
    /// Size of a logical sector of the disks in bytes. Only SCSI disks that the suite attaches have
    /// others than [`USUAL_SECTOR`].
    pub sector: u32,
}

/// The usual size of a logical sector in bytes.
pub const USUAL_SECTOR: u32 = 512;

impl From<Controller> for DiskBus {
    fn from(controller: Controller) -> Self {
        Self { controller, model: None, sector: USUAL_SECTOR }
    }
}

impl DiskBus {
    /// Vendor and model as a Linux guest shows them, if a model is set. Linux shows an ATA disk as
    /// a SCSI disk of vendor `ATA`, its model cut to the length of a SCSI model.
    #[must_use]
    pub fn model_in_linux(&self) -> Option<String> {
        let model = self.model.as_deref()?;
        let shown: String = model.chars().take(SCSI_MODEL).collect();
        Some(if self.controller.is_scsi() { model.to_owned() } else { format!("ATA {}", shown.trim_end()) })
    }

    /// QEMU device of disk number `index` on this bus, whose controller has the id `id`.
    pub(super) fn disk_device(&self, id: &str, index: usize) -> String {
        let device = match self.controller {
            Controller::Pvscsi | Controller::VirtioScsi => {
                let sector = match self.sector {
                    USUAL_SECTOR => String::new(),
                    other => format!(",logical_block_size={other},physical_block_size={other}"),
                };
                format!("scsi-hd,bus={id}.0,scsi-id={index}{sector}")
            }
            // Master and slave of the first channel, then of the second.
            Controller::Ide => format!("ide-hd,bus=ide.{},unit={}", index / 2, index % 2),
            Controller::Ahci => format!("ide-hd,bus={id}.{index}"),
        };
        match (self.scsi_model(), &self.model) {
            (Some((Some(vendor), product)), _) => format!("{device},vendor={vendor},product={product}"),
            (Some((None, product)), _) => format!("{device},product={product}"),
            (None, Some(model)) => format!("{device},model={model}"),
            (None, None) => device,
        }
    }

    /// Vendor and product of a SCSI disk, if a model is set.
    pub(super) fn scsi_model(&self) -> Option<(Option<&str>, &str)> {
        let model = self.model.as_deref().filter(|_| self.controller.is_scsi())?;
        Some(model.split_once(' ').map_or((None, model), |(vendor, product)| (Some(vendor), product)))
    }
}

/// PCI slot of the first network card.
pub(super) const FIRST_NIC_SLOT: usize = 0x10;
/// The last PCI slot of disk controllers, which are behind the first network card.
const LAST_DISK_SLOT: usize = 0x12;

/// Network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nic {
    /// VMware's paravirtual card.
    Vmxnet3,
    /// The DEC 21140 that Hyper-V's legacy network adapter emulates.
    Tulip,
    /// Intel's gigabit card, as found in servers.
    E1000,
    /// virtio.
    VirtioNet,
}

impl Nic {
    /// Kernel module that drives it in a Linux guest.
    #[must_use]
    pub fn driver(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "vmxnet3",
            Self::Tulip => "tulip",
            Self::E1000 => "e1000",
            Self::VirtioNet => "virtio_net",
        }
    }

    /// PCI slot of a machine's further card with this number, from 1. Machines of some platforms
    /// have it behind the first card, which is in slot [`FIRST_NIC_SLOT`], and others in front of
    /// it, so that a guest finds its cards in another order.
    pub(super) fn further_slot(self, number: usize) -> usize {
        match self {
            Self::Vmxnet3 | Self::E1000 => LAST_DISK_SLOT + number,
            Self::Tulip | Self::VirtioNet => FIRST_NIC_SLOT - number,
        }
    }

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

/// The identity that a machine shows in its SMBIOS tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// System manufacturer.
    pub vendor: String,
    /// System product.
    pub product: String,
    /// Chassis asset tag, if the platform sets one.
    pub chassis_tag: Option<String>,
}

/// Everything a guest can see of the platform below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Firmware.
    pub firmware: Firmware,
    /// The bus of the first disk, from which the firmware boots.
    pub system_disk: DiskBus,
    /// The bus of the other disks: the same controller or another.
    pub other_disks: DiskBus,
    /// Network card.
    pub nic: Nic,
    /// SMBIOS identity.
    pub identity: Identity,
    /// Whether the platform offers its guests Hyper-V enlightenments. Guests get them only if the
    /// accelerator has them: [`super::GuestSpec::enlightenments`].
    pub enlightened: bool,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Hardware {
    /// This hardware with `model` as the model name of all disks.
    #[must_use]
    pub fn with_disks_called(mut self, model: &str) -> Self {
        for bus in [&mut self.system_disk, &mut self.other_disks] {
            bus.model = Some(model.to_owned());
        }
        self
    }

    /// This hardware with Hyper-V enlightenments.
    #[must_use]
    pub fn enlightened(mut self) -> Self {
        self.enlightened = true;
        self
    }

    /// Kernel modules that a Linux guest needs to find all its disks, without duplicates.
    #[must_use]
    pub fn disk_drivers(&self) -> Vec<&'static str> {
        let mut drivers = vec![self.system_disk.controller.driver()];
        let other = self.other_disks.controller.driver();
        drivers.extend((!drivers.contains(&other)).then_some(other));
        drivers
    }

    /// The bus of disk number `index`, and the disk's number on that bus.
    pub(super) fn place_of(&self, index: usize) -> (&DiskBus, usize) {
        match index {
            0 => (&self.system_disk, 0),
            _ if self.system_disk.controller == self.other_disks.controller => (&self.other_disks, index),
            _ => (&self.other_disks, index - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus(controller: Controller, model: &str) -> DiskBus {
        DiskBus { controller, model: Some(model.to_owned()), sector: USUAL_SECTOR }
    }

    #[test]
    fn a_scsi_disk_has_vendor_and_product_and_an_ata_disk_a_model() {
        let scsi = bus(Controller::Pvscsi, "VMware Virtual disk").disk_device("disks", 1);
        assert_eq!(scsi, "scsi-hd,bus=disks.0,scsi-id=1,vendor=VMware,product=Virtual disk");
        let large = DiskBus { sector: 4096, ..Controller::VirtioScsi.into() }.disk_device("disks", 0);
        let sizes = "logical_block_size=4096,physical_block_size=4096";
        assert_eq!(large, format!("scsi-hd,bus=disks.0,scsi-id=0,{sizes}"));
        let ata = bus(Controller::Ide, "Virtual HD").disk_device("disks", 3);
        assert_eq!(ata, "ide-hd,bus=ide.1,unit=1,model=Virtual HD");
        assert_eq!(bus(Controller::Ide, "Virtual HD").model_in_linux().as_deref(), Some("ATA Virtual HD"));
        assert_eq!(DiskBus::from(Controller::Ahci).disk_device("disks", 2), "ide-hd,bus=disks.2");
    }
}
