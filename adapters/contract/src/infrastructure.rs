//! What a site has besides machines and volumes: the components on which failback depends (IN-01 to IN-05), and
//! what a cloud subscription has to give.
//!
//! A core looks at them before it begins ([`crate::Platform::infrastructure`]) and refuses what cannot succeed. What
//! a broken component prevents, the platform prevents by itself as well.

use serde::{Deserialize, Serialize};

use crate::{Access, Bytes, ComponentId, GuestOs, MachineId, Network, Subnet, VolumeId};

/// One component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Its name.
    pub id: ComponentId,
    /// Whether it can be reached (IN-05).
    pub connected: bool,
    /// What it is.
    pub kind: ComponentKind,
}

/// What a component is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ComponentKind {
    /// Keeps the database of protected machines (RE-06, RE-07).
    ConfigurationServer(ConfigurationServer),
    /// Carries replication: on premises out, in the cloud back (IN-01, RE-29).
    ProcessServer,
    /// Writes what comes back to the disks on premises.
    MasterTarget(MasterTarget),
    /// Manages the hosts of a VMware site, and is the way to its inventory.
    Vcenter(Vcenter),
    /// Runs machines.
    Host(Host),
    /// The connection to a Hyper-V host or to VMM (HF-02).
    HostConnection,
    /// The private connection from the cloud to the premises (IN-02).
    PrivateLink(PrivateLink),
    /// Holds volumes of a VMware site.
    Datastore,
    /// What a cloud has to give (MO-03).
    Subscription(Subscription),
}

/// A configuration server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationServer {
    /// Machines in its database.
    pub machines: Vec<MachineId>,
    /// The newest agent it has to install.
    pub agent: AgentVersion,
}

/// A master target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterTarget {
    /// Came with the configuration server, and is therefore the default (IN-03).
    pub built_in: bool,
    /// The configuration server it is registered with (PO-05).
    pub configuration_server: ComponentId,
    /// Its operating system (RE-11).
    pub os: GuestOs,
    /// Its hardware UUID (RE-17).
    pub uuid: String,
    /// How many snapshots of it there are (RE-08).
    pub snapshots: u32,
    /// Its retention drives (IN-04).
    pub retention_drives: Vec<String>,
    /// Datastores its host has mounted (RE-28).
    pub mounts: Vec<Mount>,
    /// Disks of other machines that hang on it.
    pub disks: Vec<VolumeId>,
}

impl MasterTarget {
    /// How many disks can hang on it (EX-B3).
    pub const MOST_DISKS: usize = 60;

    /// Whether a datastore is mounted for writing.
    #[must_use]
    pub fn can_write(&self, datastore: &ComponentId) -> bool {
        self.mounts.iter().any(|mount| mount.datastore == *datastore && mount.access == Access::Write)
    }
}

/// A datastore as a host has mounted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The datastore.
    pub datastore: ComponentId,
    /// [`Access::Write`]: for reading and writing.
    pub access: Access,
}

/// A vCenter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vcenter {
    /// What the account may do that replication uses (RE-15).
    pub role: AccountRole,
    /// Whether it was discovered, with its hosts and master targets (RE-18).
    pub discovered: bool,
    /// Datastores that the account can list.
    pub datastores: Vec<ComponentId>,
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountRole {
    /// All that the whole cycle needs (EX-B13).
    Full,
    /// Look, and change nothing: enough to discover machines.
    ReadOnly,
}

/// A host of machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its licence (RE-19).
    pub edition: HostEdition,
    /// The hypervisor role is installed, on a release that is supported (HF-24).
    pub prepared: bool,
    /// Its virtual switches, by name (HF-23).
    pub switches: Vec<String>,
}

/// The licence of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostEdition {
    /// Paid for.
    Full,
    /// ESXi 5.5 or vSphere 6 Hypervisor, free edition: no failback (RE-19).
    Free,
}

/// A private connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateLink {
    /// TCP ports that pass (RE-13).
    pub open_ports: Vec<u16>,
}

impl PrivateLink {
    /// The ports that failback needs: control and data (EX-B14).
    pub const NEEDED_PORTS: [u16; 2] = [443, 9443];
}

/// What a cloud subscription has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its resource groups; a machine that names none is put into the first.
    pub resource_groups: Vec<String>,
    /// Its networks' subnets.
    pub subnets: Vec<Subnet>,
    /// Its availability sets.
    pub availability_sets: Vec<String>,
    /// Sizes a machine can have; a machine that names none has the memory it asks for and one core.
    pub sizes: Vec<MachineSize>,
    /// Cores that its quota leaves to machines still to be made.
    pub cores_left: u32,
}

impl Subscription {
    /// The subnet of that name in a network; `None`: the first there.
    #[must_use]
    pub fn subnet(&self, network: Network, name: Option<&str>) -> Option<&Subnet> {
        let mut there = self.subnets.iter().filter(|subnet| subnet.network == network);
        there.find(|subnet| name.is_none_or(|name| subnet.name == name))
    }
}

/// A size of machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSize {
    /// Its name.
    pub name: String,
    /// Cores.
    pub cores: u32,
    /// Memory in bytes.
    pub memory: Bytes,
}

/// Version of the replication agent in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentVersion(pub u16, pub u16);

impl AgentVersion {
    /// The version from which no extra processing is due for its age (HY-01).
    pub const WITHOUT_HYDRATION: Self = Self(9, 8);
}

impl Default for AgentVersion {
    /// A current one.
    fn default() -> Self {
        Self(9, 60)
    }
}

impl std::fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Component {
    /// The one of this name.
    #[must_use]
    pub fn find<'a>(all: &'a [Self], id: &ComponentId) -> Option<&'a Self> {
        all.iter().find(|component| component.id == *id)
    }

    /// As a configuration server, if it is one.
    #[must_use]
    pub fn configuration_server(&self) -> Option<&ConfigurationServer> {
        if let ComponentKind::ConfigurationServer(server) = &self.kind { Some(server) } else { None }
    }

    /// As a master target, if it is one.
    #[must_use]
    pub fn master_target(&self) -> Option<&MasterTarget> {
        if let ComponentKind::MasterTarget(target) = &self.kind { Some(target) } else { None }
    }

    /// As a vCenter, if it is one.
    #[must_use]
    pub fn vcenter(&self) -> Option<&Vcenter> {
        if let ComponentKind::Vcenter(vcenter) = &self.kind { Some(vcenter) } else { None }
    }

    /// As a host, if it is one.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        if let ComponentKind::Host(host) = &self.kind { Some(host) } else { None }
    }

    /// As a private connection, if it is one.
    #[must_use]
    pub fn private_link(&self) -> Option<&PrivateLink> {
        if let ComponentKind::PrivateLink(link) = &self.kind { Some(link) } else { None }
    }

    /// As a subscription, if it is one.
    #[must_use]
    pub fn subscription(&self) -> Option<&Subscription> {
        if let ComponentKind::Subscription(subscription) = &self.kind { Some(subscription) } else { None }
    }
}
