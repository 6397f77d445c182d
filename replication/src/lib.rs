//! The built-in replication core: what a vendor would ship on KVM. Any other core can take its
//! place.
//!
//! Changes are read from snapshots of the source and land in a **landing log** on the target; a
//! processor turns each transfer into a **recovery point**, one delta volume for each disk. This
//! separation is the difference between *latest* and *latest processed*. A failover boots a delta
//! over the chosen point and copies nothing.
//!
//! The modules form layers without import cycles. From bottom to top:
//!
//! - [`table`]: which operations are allowed in which state, and where they lead
//! - `state`: everything that is stored, as plain data
//! - `store`, `clock`, [`fault_hook`], [`landing_log`], `transfer`, `sync`, `windows`, `bulk_copy`,
//!   `disk_writers`, `exports`, `hydrate`: storage, time, disk content
//! - `policy`, `item`, `machines_in_use`, `tasks`, `jobs::job`, `jobs::registry`, `context`,
//!   `fault_points`: what all parts of the core share
//! - `points`, `retention`, `point_volumes`: which points can be chosen, and which expire
//! - `processor`, `direct_transfer`, `resync`, `receive`, `consistency_group`, `full_sync`,
//!   `replication_tasks`: background replication
//! - `item_view`, [`preconditions`], `configuration`: what is shown of an item, and what is checked
//!   before an operation
//! - `operations`: what a job does with an item
//! - `dispatch`: maps a command to its operation
//! - `jobs::runner`, `jobs::retry`, `jobs::recovery`: how an item's job runs, is repeated and is
//!   resumed
//! - `plan`: recovery plans, whose jobs start the jobs of items
//! - `job_requests`, `core`, `interface`: the interface of the core

mod bulk_copy;
mod clock;
mod configuration;
mod consistency_group;
mod context;
mod core;
mod direct_transfer;
mod disk_writers;
mod dispatch;
mod error;
mod exports;
pub mod fault_hook;
mod fault_points;
mod full_sync;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hydrate;
mod interface;
mod item;
mod item_view;
mod job_requests;
mod jobs;
pub mod landing_log;
mod machines_in_use;
#[cfg(test)]
mod models;
mod operations;
mod plan;
mod point_volumes;
mod points;
mod policy;
pub mod preconditions;
mod processor;
#[cfg(test)]
mod ram_disk;
mod receive;
mod replication_tasks;
mod resync;
mod retention;
mod state;
mod store;
mod sync;
pub mod table;
mod tasks;
mod transfer;
mod windows;

pub use crate::clock::{Clock, TimeSource};
pub use crate::context::Config;
pub use crate::core::Core;
