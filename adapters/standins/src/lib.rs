//! Platforms made of real QEMU guests. Each stands in for a product and says so: a result earned here is a
//! stand-in's, never the product's.
//!
//! - [`profile`]: what makes each stand-in different, as data
//! - [`Infrastructure`]: what a site has besides machines and volumes, to be broken and repaired
//! - [`StandInSite`]: a site of such machines; implements [`contract::Platform`]
//! - [`vhd`]: a managed disk as the fixed VHD that Azure exchanges
//! - [`SiteFault`]: what can go wrong there, until healed
//! - [`Boot`]: what a machine was booted from, kept for the oracle

mod agent_link;
mod agent_snapshots;
mod boot;
mod change_log;
mod consistency_group;
mod disk_attachment;
mod error;
mod fault;
mod machines;
mod merge;
mod network;
pub mod profile;
mod quiesce;
mod site;
mod snapshots;
mod state;
pub mod vhd;
mod volumes;

pub use boot::{Boot, BootDisk};
pub use change_log::SnapshotsBlocked;
pub use fault::SiteFault;
pub use profile::{Profile, TrackingMechanism};
pub use quiesce::IdleVolume;
pub use site::{Installed, SiteConfig, StandInSite};
