//! Platforms in memory under a virtual clock: the same [`contract::Platform`] as the stand-ins', in milliseconds.
//!
//! A [`SimWorld`] has one seed, one clock and as many [`SimSite`]s as a test wants. Each site has machines whose
//! guests write a ledger and churn, volumes of copy-on-write chunks, point-in-time views with change tracking, a
//! link, and faults on demand. Bytes cross through `nbd+memory:` URIs, so a core under test sees no difference.
//!
//! # Time
//! The clock is tokio's, paused: once nothing is left to do, it jumps to the next timer. That way the timers of
//! the core under test and those of the platform are one clock, without a line changed in either. Work on
//! blocking threads holds the clock still. It needs tokio's current-thread runtime; [`run`] builds one. On any
//! other runtime a site works too, in real time.
//!
//! # Determinism
//! There are no background tasks. A guest's writes are a function of the seed, its site, its name, the number of
//! its boot and the time; they are applied when somebody looks: before each call that concerns the machine and
//! before each read of its disks. Names that a site gives count by machine, so that how the calls for different
//! machines interleave changes nothing. What is left to chance is the order of calls within one virtual instant
//! between machines (blocking threads finish when they finish) and the branch `tokio::select!` takes when two are
//! ready at once. So compare [`SimSite::fingerprint`], which sorts by machine, and [`SimWorld::settle`] before
//! acting on a world in which several machines are at work.
//!
//! - `content`, `store`: volumes
//! - `disk`, `boot_partition`, `ledger`: what lies on a machine's disks
//! - `guest`, `boot`: what runs in a machine, and the record of it
//! - `site`, `power`, `views`, `volumes`, `exports`: the platform
//! - `faults`: what can go wrong; `process`: how a core dies
//! - `judge`: where a recovered machine lies in the order of writes
//! - [`testbed`]: two sites with a core between them, for tests of a core

mod boot;
mod boot_partition;
mod clock;
mod content;
mod disk;
mod disk_attachment;
mod exports;
mod faults;
mod guest;
mod install;
mod ledger;
mod machines;
mod power;
mod prng;
mod process;
mod profile;
mod site;
mod snapshots;
mod state;
mod store;
pub mod testbed;
mod trace;
mod volumes;
mod world;
mod write_order;

pub use boot::{Ack, End, Payload, SimBoot, SimDisk, SimWrite};
pub use clock::SimClock;
pub use content::Snapshot;
pub use disk::Load;
pub use faults::{Call, FailCall, Fault, Link};
pub use install::SimInstall;
pub use process::SimProcess;
pub use profile::{SimConfig, SimProfile, Tracking};
pub use site::SimSite;
pub use trace::Event;
pub use world::{SimWorld, run};
pub use write_order::{Allowed, Cut, Offence, Placed, cut_of, last_record};
