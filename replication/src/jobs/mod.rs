//! Jobs: everything that takes time runs as one.
//!
//! - `job`: a job at run time, with its steps
//! - `registry`: the list of all jobs
//! - `runner`: starts an item's job and executes its command
//! - `retry`: runs a failed job again
//! - `recovery`: resumes replication and jobs after a restart of the core

pub(crate) mod job;
pub(crate) mod recovery;
pub(crate) mod registry;
pub(crate) mod retry;
pub(crate) mod runner;
