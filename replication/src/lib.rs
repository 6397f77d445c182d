//! The built-in replication core: what a team would ship on KVM, in the place where any other core could stand.
//!
//! Changes are read from point-in-time views of the source and land in a **landing log** on the target; a
//! processor turns each transfer into a **recovery point**, one delta volume a disk. That split is what makes
//! *Latest* differ from *Latest processed*. A failover boots a delta over the chosen point and copies nothing.
//!
//! - [`table`]: which operation is allowed where, and where it leads
//! - `landing`, `transfer`, `processor`: how content travels
//! - `engine`, `receive`, `group`: the two tasks behind a protected item, and what one transfer is
//! - `policy`, `points`, `thinning`: which points there are, which can be chosen, and where they go
//! - `failover`, `target`, `commit`, `back_to_hyperv`, `test failover`, `reprotect`, `protect`: the jobs
//! - `order`, `run`, `jobs`, `resume`, `desk`: what a job is told to do, how it runs, goes on and is asked about
//! - `plan`: recovery plans
//! - `place`: where a machine comes back to, and what its way back goes through
//! - [`preconditions`]: what must hold before an operation may begin
//! - `configuration`: what a target shall look like, and what is wrong with that
//! - `hydrate`: makes a target copy boot on other hardware
//! - [`tap`]: the seam at which the suite makes this core faulty on purpose

mod back_to_hyperv;
mod clock;
mod commit;
mod configuration;
mod core;
mod desk;
mod engine;
mod exports;
mod failover;
mod fill;
mod group;
mod hydrate;
mod interface;
mod item;
mod jobs;
mod landing;
mod order;
mod place;
mod plan;
mod points;
mod policy;
pub mod preconditions;
mod processor;
mod protect;
mod receive;
mod reprotect;
mod resume;
mod resync;
mod run;
mod store;
pub mod table;
pub mod tap;
mod target;
mod test_failover;
mod thinning;
mod transfer;

pub use crate::clock::Clock;
pub use crate::core::{Config, Core};
