//! Facts about machines that are not on their disks.

use contract::ComponentId;

use crate::nic::Nic;

/// Facts about a machine that are not on its disks.
#[derive(Clone, Debug, Default)]
pub(crate) struct MachineFacts {
    /// A UUID that replaces the machine's own.
    pub(crate) uuid: Option<String>,
    pub(crate) process_server: Option<ComponentId>,
    pub(crate) disks_on: Option<ComponentId>,
    pub(crate) migrated: bool,
    /// The resource group to which it was moved.
    pub(crate) moved_to: Option<String>,
    /// Cores that it takes from the quota.
    pub(crate) cores: u32,
    /// Its first network card.
    pub(crate) nic: Option<Nic>,
    /// Its further network cards.
    pub(crate) more_nics: Vec<Nic>,
}
