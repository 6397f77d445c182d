//! Platforms made of real QEMU guests. Each stands in for a product and is labelled as such: a
//! result obtained here is a stand-in's, never the product's.
//!
//! - [`profile`]: the differences between stand-ins, as data
//! - [`Infrastructure`](inventory::Infrastructure): everything that a site has besides machines and
//!   volumes; it can be broken and repaired
//! - [`StandInSite`]: a site of such machines; implements [`contract::Platform`]
//! - [`vhd`]: a managed disk as the fixed VHD that Azure exchanges
//! - [`SiteFault`]: faults that can be injected and healed
//! - [`Boot`]: the record of a boot, for the oracle

mod active_faults;
mod agent_link;
mod agent_snapshots;
mod boot;
mod change_log;
mod consistency_group;
mod disk_attachment;
mod error;
mod fault;
mod growth;
mod machines;
mod merge;
mod network;
mod own_failure;
pub mod profile;
mod quiesce;
mod site;
mod snapshots;
mod state;
pub mod vhd;
mod volumes;

pub use active_faults::SiteFault;
pub use boot::{Boot, BootDisk};
pub use change_log::SnapshotsBlocked;
pub use machines::mac_of;
pub use own_failure::OwnFailure;
pub use profile::{Profile, TrackingMechanism};
pub use quiesce::IdleVolume;
pub use site::{Installed, SiteConfig, StandInSite};
