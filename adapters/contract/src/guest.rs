//! Facts about guests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Operating system family of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuestOs {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

/// Facts about a guest, as reported by its agent. The default is a guest without problems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestFacts {
    /// Release of the operating system; empty if unknown.
    pub release: String,
    /// Version of the agent (HY-01).
    pub agent: AgentVersion,
    /// Whether the DHCP service starts; a static address does not matter (HY-05).
    pub dhcp_service: bool,
    /// The drivers among [`GuestFacts::CLOUD_DRIVERS`] that start at boot (HY-06).
    pub boot_drivers: Vec<String>,
    /// Whether the SSH server starts at boot (CN-01).
    #[serde(default = "yes")]
    pub ssh_at_boot: bool,
}

fn yes() -> bool {
    true
}

impl GuestFacts {
    /// Drivers that must all start at boot in a VMware machine; otherwise its copy needs hydration
    /// (HY-06).
    pub const CLOUD_DRIVERS: [&'static str; 5] = ["storvsc", "vmbus", "storflt", "intelide", "atapi"];
    /// The service of a Windows machine that gets its address by DHCP (HY-05).
    pub const DHCP_SERVICE: &'static str = "Dhcp";
    /// The service of VMware Tools in a Windows machine. It is disabled in the target when a
    /// machine fails over from VMware, and starts again when it fails back (FO-16, FB-15).
    pub const VMWARE_TOOLS: &'static str = "VMTools";
    /// Release that does not support failback from a physical server (RE-20).
    pub const WINDOWS_2008_R2_SP1: &'static str = "Windows Server 2008 R2 SP1";
}

impl Default for GuestFacts {
    fn default() -> Self {
        Self {
            release: String::new(),
            agent: AgentVersion::default(),
            dhcp_service: true,
            boot_drivers: Self::CLOUD_DRIVERS.map(ToOwned::to_owned).to_vec(),
            ssh_at_boot: true,
        }
    }
}

/// Version of the replication agent in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct AgentVersion(pub u16, pub u16);

impl AgentVersion {
    /// The first version that needs no hydration because of its age (HY-01).
    pub const WITHOUT_HYDRATION: Self = Self(9, 8);
}

impl Default for AgentVersion {
    /// A current version.
    fn default() -> Self {
        Self(9, 60)
    }
}

impl std::fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}
