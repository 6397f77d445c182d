//! The model of a site that real and simulated platforms share: its components, the effects of
//! broken components, and the facts about machines that are not on their disks.
//!
//! The rules of failback are not known here. A vCenter that is down answers no question about
//! machines, a read-only account cannot write a disk, and a master target writes only to datastores
//! that its host has mounted. Checking such things before an operation is up to the core.
//!
//! - `site`: the [`Infrastructure`] of a site
//! - `components`: breaking and repairing components
//! - `defaults`: the components of a new site
//! - `admission`: what the components allow
//! - `machines`: views of machines, and attaching disks to master targets
//! - `machine_facts`: facts about machines that are not on their disks
//! - `chain`: snapshots of machines that are off, as deltas over their disks
//! - `network`: addresses, and what the security rules allow
//! - `nic`: network cards of machines

mod admission;
mod chain;
mod components;
mod defaults;
mod machine_facts;
mod machines;
mod network;
mod nic;
mod site;

pub use chain::{Volumes, base_below, merged_into, reattach, snapshot_above, volumes_of};
pub use network::{Refusal, SecurityList};
pub use nic::{Nic, Way};
pub use site::{Denial, Infrastructure};
