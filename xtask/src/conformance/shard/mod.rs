//! A shard: one of N parts of a run, which another machine may execute. `cargo xtask report merge`
//! makes one report of them.
//!
//! - `choice`: `--shard K/N` and `--shard auto`
//! - `division`: which scenario belongs to which shard
//! - `usual`: how long scenarios usually take, by which they are divided
//! - `note`: what a shard says of itself, for the merge

mod choice;
mod division;
mod note;
mod usual;

pub use choice::{Choice, Shard};
pub use division::divide;
pub use note::{DIVISION, ended, note, sources};
pub use usual::Durations;
