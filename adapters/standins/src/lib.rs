//! Platforms made of real QEMU guests. Each stands in for a product and says so: a result earned here is a
//! stand-in's, never the product's.
//!
//! - [`profile`]: what makes each stand-in different, as data
//! - [`Infrastructure`]: what a site has besides machines and volumes, to be broken and repaired
//! - [`StandInSite`]: a site of such machines; implements [`contract::Platform`]
//! - [`vhd`]: a managed disk as the fixed VHD that Azure exchanges
//! - [`Fault`]: what can go wrong there, until healed
//! - [`Boot`]: what a machine was booted from, kept for the oracle

mod agent_link;
mod agent_views;
mod boot;
mod error;
mod fault;
mod hanging;
mod infrastructure;
mod limits;
mod machines;
mod merge;
mod moment;
mod network;
pub mod profile;
mod rest;
pub mod sim;
mod site;
mod state;
pub mod vhd;
mod views;
mod volumes;

pub use boot::{Boot, BootDisk};
pub use fault::Fault;
pub use infrastructure::{Infrastructure, Refusal, SecurityList, Way};
pub use limits::ViewsHeld;
pub use profile::{Profile, Tracking};
pub use rest::StillVolume;
pub use site::{Installed, SiteConfig, StandInSite};
