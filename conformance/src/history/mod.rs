//! The history: every run in one SQLite file, with the host, the core and what was measured, and
//! beside them the figures of the benchmark.
//!
//! - `error`: why a history cannot be used, in one line
//! - `record`: what is kept of a run
//! - `options`: the options that a run had
//! - `store`: the file
//! - `benches`: the figures of the benchmark, in a table of their own
//! - `upkeep`: finds, accepts and deletes runs of both kinds
//! - `listing`: runs as text and as JSON
//! - `durations`: how long scenarios took on any host
//! - `usual`: how long scenarios and steps usually take on this host

mod benches;
mod durations;
mod error;
mod listing;
mod options;
mod record;
mod store;
mod upkeep;
mod usual;

pub use benches::{BENCH, BenchValue};
pub use durations::durations;
pub use error::HistoryError;
pub use listing::{export, list, list_benches, show, show_bench};
pub(crate) use record::UNKNOWN_HOST;
pub use record::{Metric, RunRecord, ScenarioRecord, fingerprint};
pub use store::History;
pub use upkeep::{AcceptedRun, Kind, Pruned};
pub use usual::{Usual, usual};

/// The name of the file, beside the directories of the runs.
pub const FILE: &str = "history.sqlite";
