//! The built-in core over simulated sites, in virtual time.
#![allow(clippy::unwrap_used, missing_docs)]

mod cycle;
mod faults;
mod infrastructure;
mod jobs;
mod log_spans;
mod model;
mod plans;
mod points;
mod refusals;
mod restart;
mod scale;
mod support;
