//! Machines, as a site reports and creates them.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Bytes, ComponentId, DiskId, GuestFacts, GuestOs, MachineId, Network, NicSpec, NicView, VolumeId,
};

/// Power state of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PowerState {
    /// Running.
    On,
    /// Not running.
    Off,
}

/// Firmware a machine boots with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// PC BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// A machine as reported by its site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineView {
    /// The machine.
    pub id: MachineId,
    /// Power state.
    pub power: PowerState,
    /// Firmware.
    pub firmware: Firmware,
    /// Operating system.
    pub os: GuestOs,
    /// Memory in bytes.
    pub memory: Bytes,
    /// Disks in boot order; the machine boots from the first.
    pub disks: Vec<DiskView>,
    /// Hardware UUID. It never changes, and differs between machines unless they were created from
    /// the same template (RE-17).
    #[serde(default)]
    pub uuid: String,
    /// Number of snapshots above its disks; always 0 in a cloud (RE-09).
    #[serde(default)]
    pub snapshots: u32,
    /// Facts about the guest, as reported by its agent.
    #[serde(default)]
    pub guest: GuestFacts,
    /// Placement.
    #[serde(default)]
    pub placement: Placement,
    /// The process server through which its agent sends.
    #[serde(default)]
    pub process_server: Option<ComponentId>,
    /// The master target to which its disks are attached; the machine cannot start meanwhile
    /// (RE-02, EX-B8).
    #[serde(default)]
    pub disks_on: Option<ComponentId>,
    /// Whether its migration to the cloud was declared complete (RE-21).
    #[serde(default)]
    pub migrated: bool,
    /// Its first network card.
    #[serde(default)]
    pub nic: NicView,
    /// Its further network cards, in the order in which it has them (FX-65). A platform whose
    /// machines have one card leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_nics: Vec<NicView>,
    /// The boot loader that the machine's firmware variables name: its path on the EFI system
    /// partition of the first disk as firmware writes it, such as `\EFI\debian\grubx64.efi`.
    /// Firmware variables belong to the machine and lie on none of its disks (FX-62). `None`: they
    /// name none, and the firmware starts `\EFI\BOOT\BOOTX64.EFI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_entry: Option<String>,
    /// How to reach it through libvirt, for products that replicate through libvirt's own
    /// interfaces. `None`: the site does not manage its machines' disks through libvirt, or the
    /// machine has never been started. A platform of another kind leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<LibvirtDomain>,
}

/// A machine as libvirt knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LibvirtDomain {
    /// URI of the connection, such as `qemu:///system`.
    pub uri: String,
    /// Name of the domain. It stays the same over restarts of the machine, as do its UUID and its
    /// checkpoints.
    pub name: String,
}

/// Placement of a machine. A platform ignores fields that do not apply to it and chooses values for
/// those that are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// Host on which it runs.
    #[serde(default)]
    pub host: Option<ComponentId>,
    /// Virtual switch to which it is connected, by name (HF-23).
    #[serde(default)]
    pub switch: Option<String>,
    /// Resource group (RE-22).
    #[serde(default)]
    pub resource_group: Option<String>,
    /// Machine size, which determines its memory.
    #[serde(default)]
    pub size: Option<String>,
    /// Availability set.
    #[serde(default)]
    pub availability_set: Option<String>,
    /// Kind of its disks in a cloud.
    #[serde(default)]
    pub disk_kind: DiskKind,
    /// Subnet of the machine's network; the default in a cloud is the first one.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Address in that subnet, which the platform's DHCP assigns to this machine (CN-10); `None`:
    /// any.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
}

/// Kind of a cloud machine's disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// Blobs in a storage account.
    #[default]
    StorageAccount,
    /// Managed disks, from which a Hyper-V machine cannot fail back (HF-26).
    Managed,
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskView {
    /// The disk.
    pub id: DiskId,
    /// Its volume.
    pub volume: VolumeId,
    /// Size as the guest sees it, in bytes.
    pub size: Bytes,
}

/// Specification of a machine to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineSpec {
    /// Its name.
    pub id: MachineId,
    /// Firmware.
    pub firmware: Firmware,
    /// Operating system.
    pub os: GuestOs,
    /// Memory in bytes.
    pub memory: Bytes,
    /// Disks in boot order with the volumes to use.
    pub disks: Vec<(DiskId, VolumeId)>,
    /// Network of its first network card, for which `placement` has subnet and address.
    #[serde(default)]
    pub network: Network,
    /// Facts about the guest that its agent will report.
    #[serde(default)]
    pub guest: GuestFacts,
    /// Placement.
    #[serde(default)]
    pub placement: Placement,
    /// The boot loader that the new machine's firmware variables name, as in
    /// [`MachineView::boot_entry`]. A cloud ignores it: there the variables of a new machine name
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_entry: Option<String>,
    /// Its further network cards, in the order in which it is to have them (FX-65). Left out, it
    /// has one card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_nics: Vec<NicSpec>,
}
