//! Components of a site besides machines and volumes: those on which failback depends (IN-01 to
//! IN-05), and the resources of a cloud subscription.
//!
//! A core checks them before an operation ([`crate::Platform::infrastructure`]) and refuses what
//! cannot succeed. The platform also enforces the effects of a broken component itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Access, AgentVersion, Bytes, ComponentId, GuestOs, MachineId, Network, Subnet, VolumeId};

/// A component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// Its name.
    pub id: ComponentId,
    /// Whether it can be reached (IN-05).
    pub connected: bool,
    /// Kind and properties.
    pub kind: ComponentKind,
}

/// Kind of a component, with its properties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ComponentKind {
    /// Keeps the database of protected machines (RE-06, RE-07).
    ConfigurationServer(ConfigurationServer),
    /// Transfers replication data: from the premises on failover, from the cloud on failback
    /// (IN-01, RE-29).
    ProcessServer,
    /// Writes replicated data to disks on premises.
    MasterTarget(MasterTarget),
    /// Manages the hosts of a VMware site; its inventory is accessed through it.
    Vcenter(Vcenter),
    /// Runs machines.
    Host(Host),
    /// The connection to a Hyper-V host or to VMM (HF-02).
    HostConnection,
    /// The private connection from the cloud to the premises (IN-02).
    PrivateLink(PrivateLink),
    /// Holds volumes of a VMware site.
    Datastore,
    /// The resources of a cloud (MO-03).
    Subscription(Subscription),
}

/// A configuration server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationServer {
    /// Machines in its database.
    pub machines: Vec<MachineId>,
    /// The newest agent that it can install.
    pub agent: AgentVersion,
}

/// A master target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MasterTarget {
    /// Whether it came with the configuration server, and is therefore the default (IN-03).
    pub built_in: bool,
    /// The configuration server it is registered with (PO-05).
    pub configuration_server: ComponentId,
    /// Its operating system (RE-11).
    pub os: GuestOs,
    /// Its hardware UUID (RE-17).
    pub uuid: String,
    /// Number of its snapshots (RE-08).
    pub snapshots: u32,
    /// Its retention drives (IN-04).
    pub retention_drives: Vec<String>,
    /// Datastores mounted on its host (RE-28).
    pub mounts: Vec<Mount>,
    /// Disks of other machines that are attached to it.
    pub disks: Vec<VolumeId>,
}

impl MasterTarget {
    /// Largest number of disks that can be attached (EX-B3).
    pub const MOST_DISKS: usize = 60;

    /// Whether a datastore is mounted for writing.
    #[must_use]
    pub fn can_write(&self, datastore: &ComponentId) -> bool {
        self.mounts.iter().any(|mount| mount.datastore == *datastore && mount.access == Access::Write)
    }
}

/// A datastore mounted on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// The datastore.
    pub datastore: ComponentId,
    /// [`Access::Write`]: for reading and writing.
    pub access: Access,
}

/// A vCenter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Vcenter {
    /// Permissions of the account that replication uses (RE-15).
    pub role: AccountRole,
    /// Whether it was discovered, with its hosts and master targets (RE-18).
    pub discovered: bool,
    /// Datastores that the account can list.
    pub datastores: Vec<ComponentId>,
}

/// Permissions of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccountRole {
    /// Everything that the whole cycle needs (EX-B13).
    Full,
    /// Read-only access, which is enough to discover machines.
    ReadOnly,
}

/// A host of machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its licence (RE-19).
    pub edition: HostEdition,
    /// Whether the hypervisor role is installed, on a supported release (HF-24).
    pub prepared: bool,
    /// Names of its virtual switches (HF-23).
    pub switches: Vec<String>,
}

/// The licence of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostEdition {
    /// A paid licence.
    Full,
    /// ESXi 5.5 or vSphere 6 Hypervisor, free edition, which does not allow failback (RE-19).
    Free,
}

/// A private connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrivateLink {
    /// TCP ports that are not blocked (RE-13).
    pub open_ports: Vec<u16>,
}

impl PrivateLink {
    /// The ports that failback needs: control and data (EX-B14).
    pub const NEEDED_PORTS: [u16; 2] = [443, 9443];
}

/// The resources of a cloud subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscription {
    /// Its resource groups; the first is the default.
    pub resource_groups: Vec<String>,
    /// The subnets of its networks.
    pub subnets: Vec<Subnet>,
    /// Its availability sets.
    pub availability_sets: Vec<String>,
    /// Machine sizes; a machine without a size gets the memory it asks for and one core.
    pub sizes: Vec<MachineSize>,
    /// Cores that the quota leaves for new machines.
    pub cores_left: u32,
}

impl Subscription {
    /// The subnet of that name in a network; `None`: the first subnet.
    #[must_use]
    pub fn subnet(&self, network: Network, name: Option<&str>) -> Option<&Subnet> {
        let mut there = self.subnets.iter().filter(|subnet| subnet.network == network);
        there.find(|subnet| name.is_none_or(|name| subnet.name == name))
    }
}

/// A machine size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MachineSize {
    /// Its name.
    pub name: String,
    /// Cores.
    pub cores: u32,
    /// Memory in bytes.
    pub memory: Bytes,
}

impl Component {
    /// The component with this id.
    #[must_use]
    pub fn find<'a>(all: &'a [Self], id: &ComponentId) -> Option<&'a Self> {
        all.iter().find(|component| component.id == *id)
    }

    /// The configuration server, if this is one.
    #[must_use]
    pub fn configuration_server(&self) -> Option<&ConfigurationServer> {
        if let ComponentKind::ConfigurationServer(server) = &self.kind { Some(server) } else { None }
    }

    /// The master target, if this is one.
    #[must_use]
    pub fn master_target(&self) -> Option<&MasterTarget> {
        if let ComponentKind::MasterTarget(target) = &self.kind { Some(target) } else { None }
    }

    /// The vCenter, if this is one.
    #[must_use]
    pub fn vcenter(&self) -> Option<&Vcenter> {
        if let ComponentKind::Vcenter(vcenter) = &self.kind { Some(vcenter) } else { None }
    }

    /// The host, if this is one.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        if let ComponentKind::Host(host) = &self.kind { Some(host) } else { None }
    }

    /// The private connection, if this is one.
    #[must_use]
    pub fn private_link(&self) -> Option<&PrivateLink> {
        if let ComponentKind::PrivateLink(link) = &self.kind { Some(link) } else { None }
    }

    /// The subscription, if this is one.
    #[must_use]
    pub fn subscription(&self) -> Option<&Subscription> {
        if let ComponentKind::Subscription(subscription) = &self.kind { Some(subscription) } else { None }
    }
}
