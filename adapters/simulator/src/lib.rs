//! Platforms in memory under a virtual clock: the same [`contract::Platform`] as the stand-ins, in
//! milliseconds.
//!
//! A [`SimWorld`] has a seed, a clock and any number of [`SimSite`]s. A site has machines whose
//! guests write a ledger and background data, volumes of copy-on-write chunks, snapshots with
//! change tracking, a link, and faults on demand. Disk content is accessed through `nbd+memory:`
//! URIs, so a core under test sees no difference.
//!
//! # Time
//! The clock is tokio's, paused: when there is nothing left to do, it jumps to the next timer. So
//! the timers of the core under test and those of the platform share one clock without any change
//! to either. The clock does not advance during work on blocking threads. This needs tokio's
//! current-thread runtime, which [`run`] builds. On any other runtime a site works in real time.
//!
//! # Determinism
//! There are no background tasks. A guest's writes are a function of the seed, its site, its name,
//! the number of its boot and the time. They are applied when they become observable: before each
//! call that concerns the machine, and before each read of its disks. Names that a site assigns are
//! numbered per machine, so that they do not depend on how calls for different machines interleave.
//! Two things are not deterministic: the order of calls for different machines within one virtual
//! instant, because blocking threads finish at any time, and the branch that `tokio::select!` takes
//! when two are ready. So compare runs by [`SimSite::fingerprint`], which sorts by machine, and
//! call [`SimWorld::settle`] before acting on a simulation in which several machines are at work.
//!
//! - `content`, `store`, `change_records`: volumes; `extents`: how a site tells what changed
//! - `write_cache`: what clients have written to a volume and not flushed
//! - `disk`, `boot_partition`, `guid_partition_table`, `ledger`: the content of a machine's disks
//! - `windows_disk`: the Windows volume beside them
//! - `guest`, `boot`: the guest of a machine, and the record of its boot
//! - `hydrated`: what hydration may have edited on a machine's first disk
//! - `site`, `power`, `snapshots`, `volumes`, `exports`: the platform
//! - `site_events`, `machine_events`: what administrators do to disks and machines
//! - `faults`, `tracker_lies`: fault injection; `process`: crashes of a core
//! - `write_order`: the position of a recovered machine in the order of writes
//! - [`testbed`]: two sites with a core between them, for tests of a core

mod boot;
mod boot_partition;
mod capture;
mod change_records;
mod clock;
mod content;
mod disk;
mod disk_attachment;
mod epoch;
mod exports;
mod extents;
mod faults;
mod guest;
mod guid_partition_table;
mod hydrated;
mod install;
mod ledger;
mod machine_events;
mod machines;
mod power;
mod process;
mod profile;
mod refusals;
mod seeds;
mod site;
mod site_clock;
mod site_events;
mod snapshots;
mod state;
mod store;
pub mod testbed;
mod trace;
mod tracker_lies;
mod volumes;
mod windows_disk;
mod world;
mod write_cache;
mod write_order;

pub use boot::{Ack, End, Payload, SimBoot, SimDisk, SimWrite};
pub use capture::Capture;
pub use clock::SimClock;
pub use content::Snapshot;
pub use disk::Load;
pub use epoch::Epoch;
pub use faults::{Call, FailCall, Link, SimFault};
pub use install::SimInstall;
pub use process::SimProcess;
pub use profile::{Extents, SimConfig, SimProfile, Storage, TrackingPersistence};
pub use site::SimSite;
pub use trace::Event;
pub use tracker_lies::TrackerLie;
pub use windows_disk::{system_hive, windows_place};
pub use world::{SimWorld, run};
pub use write_order::{Allowed, Cut, DiskSizes, Mismatch, PrefixMatch, cut_of, durable_before, last_record};
