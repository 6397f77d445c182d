//! The kinds of platforms, and what is known about each, in one table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Millis;

/// The product that a site represents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// Hyper-V hosts.
    HyperV,
    /// VMware vSphere.
    Vmware,
    /// Physical servers, without a hypervisor interface.
    Physical,
    /// An Azure region.
    Azure,
    /// KVM hosts, whose machines and disks libvirt manages.
    Kvm,
}

/// What is known about every site of a kind of platform.
///
/// Code that depends on such a fact reads it here; it does not compare kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformProfile {
    /// The longest retention of recovery points (RP-12, RP-13).
    pub longest_retention: Millis,
    /// Whether a policy has a separate policy for failback (PO-01).
    pub failback_policy: bool,
    /// Whether copies of its machines need hydration to start in a cloud.
    pub hydration: Hydration,
    /// Whether a site is a cloud region: machines are placed in a subscription, with quotas,
    /// subnets and security rules, and have no snapshots of their own (RE-09).
    pub is_cloud: bool,
    /// Whether there is a hypervisor interface, to create machines and volumes and to open them
    /// (PH-01).
    pub hypervisor: bool,
    /// Whether the hosts replicate, without agents in the guests.
    pub hosts_replicate: bool,
    /// The component through which the hosts are managed.
    pub manager: Option<HostManager>,
    /// Whether a site has a configuration server, at which its machines are registered (RE-07).
    pub configuration_server: bool,
    /// Through which process server an agent sends.
    pub process_server: ProcessServerUse,
    /// Whether a site has master targets, through which a failback writes disks (RE-02).
    pub master_target: bool,
    /// Whether volumes lie in datastores (RE-15, RE-18, RE-28).
    pub datastores: bool,
    /// Whether agents send through a private connection to the premises (IN-02).
    pub private_link: bool,
    /// Whether machines can have managed disks, which are exported as VHDs (HF-26).
    pub managed_disks: bool,
    /// Whether VMware Tools run in its Windows machines, and are of no use elsewhere (FO-16).
    pub vmware_tools: bool,
}

/// Whether copies of a platform's machines need hydration (HY-01 to HY-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hydration {
    /// Always (HY-02).
    Always,
    /// Only if the machine is not prepared for the cloud (HY-01, HY-03, HY-05, HY-06).
    IfUnprepared,
    /// Only for a site with other hardware. No rule says whether it is a step of the job; the
    /// recovered machine has to start (HY-08).
    ForOtherHardware,
    /// Never (HY-07).
    Never,
}

/// The component through which the hosts of a site are managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostManager {
    /// A vCenter.
    Vcenter,
    /// A connection to the Hyper-V hosts.
    HostConnection,
}

/// Through which process server an agent sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessServerUse {
    /// There are no process servers.
    None,
    /// Through the first one, unless another one was selected.
    FirstByDefault,
    /// Through the one that was selected, if any.
    OnlyIfSelected,
}

const VMWARE: PlatformProfile = PlatformProfile {
    longest_retention: Millis(3 * DAY.0),
    failback_policy: true,
    hydration: Hydration::IfUnprepared,
    is_cloud: false,
    hypervisor: true,
    hosts_replicate: false,
    manager: Some(HostManager::Vcenter),
    configuration_server: true,
    process_server: ProcessServerUse::FirstByDefault,
    master_target: true,
    datastores: true,
    private_link: false,
    managed_disks: false,
    vmware_tools: true,
};

/// A physical server is protected like a VMware machine, but comes back as one (PH-01, PH-02).
const PHYSICAL: PlatformProfile = PlatformProfile {
    hydration: Hydration::Always,
    hypervisor: false,
    manager: None,
    master_target: false,
    datastores: false,
    vmware_tools: false,
    ..VMWARE
};

const HYPER_V: PlatformProfile = PlatformProfile {
    longest_retention: DAY,
    failback_policy: false,
    hydration: Hydration::Never,
    is_cloud: false,
    hypervisor: true,
    hosts_replicate: true,
    manager: Some(HostManager::HostConnection),
    configuration_server: false,
    process_server: ProcessServerUse::None,
    master_target: false,
    datastores: false,
    private_link: false,
    managed_disks: false,
    vmware_tools: false,
};

const AZURE: PlatformProfile = PlatformProfile {
    longest_retention: Millis(3 * DAY.0),
    failback_policy: false,
    hydration: Hydration::Never,
    is_cloud: true,
    hypervisor: true,
    hosts_replicate: false,
    manager: None,
    configuration_server: false,
    process_server: ProcessServerUse::OnlyIfSelected,
    master_target: false,
    datastores: false,
    private_link: true,
    managed_disks: true,
    vmware_tools: false,
};

/// libvirt answers on every host, so a site of KVM hosts has no manager of its own.
const KVM: PlatformProfile = PlatformProfile {
    longest_retention: Millis(3 * DAY.0),
    failback_policy: false,
    hydration: Hydration::ForOtherHardware,
    is_cloud: false,
    hypervisor: true,
    hosts_replicate: false,
    manager: None,
    configuration_server: false,
    process_server: ProcessServerUse::None,
    master_target: false,
    datastores: false,
    private_link: false,
    managed_disks: false,
    vmware_tools: false,
};

const DAY: Millis = Millis(24 * 60 * 60 * 1000);

impl PlatformKind {
    /// What is known about sites of this kind.
    #[must_use]
    pub fn profile(self) -> &'static PlatformProfile {
        match self {
            Self::Vmware => &VMWARE,
            Self::Physical => &PHYSICAL,
            Self::HyperV => &HYPER_V,
            Self::Azure => &AZURE,
            Self::Kvm => &KVM,
        }
    }
}
