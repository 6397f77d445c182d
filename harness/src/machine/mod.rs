//! Machines: their description, how they are started, and the running guest.

mod agent;
mod complaints;
mod firmware_variables;
mod format_node;
mod forwards;
mod guest;
mod hardware;
mod managed_disks;
mod nodes;
mod serial;
mod starvation;
mod xml;

use std::net::Ipv4Addr;

use camino::Utf8PathBuf;

pub use forwards::Forwards;
pub use guest::{Guest, GuestFiles, Machine};
pub use hardware::{Accelerator, Controller, DiskBus, Firmware, Hardware, Identity, Nic, USUAL_SECTOR};
pub use nodes::disk_serial;
pub use serial::Serial;
pub use starvation::Watched;
pub(crate) use xml::NAMESPACE;

use crate::tools::Format;

/// A disk of a machine.
#[derive(Clone, Debug)]
pub struct DiskSpec {
    /// `system`, `data`, …
    pub role: String,
    /// The image.
    pub image: Utf8PathBuf,
    /// Its format.
    pub format: Format,
    /// The images below it, the nearest first, if the image is a delta.
    pub backing: Vec<(Utf8PathBuf, Format)>,
    /// File to which every write is logged; `None` for a disk that is not judged.
    pub write_log: Option<Utf8PathBuf>,
}

/// Who attaches the disks of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskManager {
    /// The suite, on QEMU's command line. libvirt does not know of the disks.
    #[default]
    CommandLine,
    /// libvirt, by `<disk>` elements, so that its backup, checkpoint and resize interfaces work on
    /// them.
    Libvirt,
}

/// A further network card of a machine.
#[derive(Clone, Debug)]
pub struct NicSpec {
    /// Its network, which no other card is in.
    pub subnet: String,
    /// The address that DHCP gives it.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: String,
}

/// Description of a machine to define.
#[derive(Clone, Debug)]
pub struct GuestSpec {
    /// Name of the domain, unique on the host.
    pub name: String,
    /// Hardware.
    pub hardware: Hardware,
    /// Whether the accelerator has Hyper-V enlightenments for a platform that offers them, or why
    /// not.
    pub enlightenments: Result<(), String>,
    /// The boot loader that the firmware variables name, as a path on the EFI system partition;
    /// `None`: they name none. Without UEFI there are no variables.
    pub boot_entry: Option<String>,
    /// Disks in boot order.
    pub disks: Vec<DiskSpec>,
    /// Who attaches them.
    pub disk_manager: DiskManager,
    /// Guest TCP ports to forward from loopback.
    pub forwards: Vec<u16>,
    /// The guest's network, from the documentation ranges, such as `192.0.2.0/24`.
    pub subnet: String,
    /// The address that DHCP gives the guest and to which forwarded ports lead; `None`: QEMU
    /// chooses.
    pub address: Option<Ipv4Addr>,
    /// Hardware address of the network card.
    pub mac: String,
    /// Further network cards of the same model, to which no port is forwarded.
    pub more_nics: Vec<NicSpec>,
    /// Directory for logs and firmware variables.
    pub dir: Utf8PathBuf,
}
