//! Soak: whether many cycles over the same machines keep memory, open files, threads, disk use and
//! the time of a cycle flat, and every edge exact.
//!
//! - `usage`: what the processes of a scenario hold, from `/proc`
//! - `cycle_log`: a line for each cycle of a run with `--cycles`, in [`CYCLES`]
//! - `series`: one quantity over all cycles, and whether it grows
//! - `judge`: the command `soak`, which judges the lines of a run

mod cycle_log;
mod judge;
mod series;
mod usage;

pub(crate) use cycle_log::{CycleLog, Edges};
pub use judge::run;

/// One line for each cycle, beside the result of a scenario that ran more than one.
pub const CYCLES: &str = "cycles.jsonl";
