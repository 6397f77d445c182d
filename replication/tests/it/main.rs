//! The built-in core over simulated sites, in virtual time.
#![expect(clippy::unwrap_used, reason = "tests")]

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
