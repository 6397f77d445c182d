//! Recovery plans: machines that are failed over together, in groups, with scripts and manual steps
//! in between (PL-01 to PL-08).
//!
//! - `registry`: creates, deletes and lists plans
//! - `shape`: what a valid plan looks like
//! - `runner`: starts a plan's job, executes it group by group, resumes and retries it
//! - `admit`: which machines take part, and when the whole command is refused
//! - `run`: a plan's job during its execution
//! - `members`: the machines of a group, each with its own job
//! - `points`: the recovery point of each machine
//! - `action`, `script`: scripts and manual steps

mod action;
mod admit;
mod members;
mod points;
pub(crate) mod registry;
mod run;
pub(crate) mod runner;
mod script;
mod shape;
