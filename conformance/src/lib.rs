//! The suite: scenarios, checks, mutants, evidence, verdicts and reports.
//!
//! - [`mod@bench`]: the built-in core's speed beside other programs'
//! - [`blame`]: whether an error is the core's failure or the test host's
//! - [`scenario`]: what is run, as data
//! - [`real`]: failover → reprotect → failback → reprotect on real guests, judged at every edge
//! - [`sim`]: whole cycles in memory, one a seed
//! - [`ssh`]: logging in to a machine from outside
//! - [`judge`]: a recovered machine's disks before the oracle
//! - [`mutants`]: cores made faulty on purpose, which the suite must fail
//! - [`outcome`]: what a run found; the schema of `results.json`
//! - [`evidence`]: what a run leaves behind, so that it can be judged again
//! - [`report`]: summary, `results.json`, JUnit and HTML

pub mod bench;
pub mod blame;
pub mod context;
pub mod core_under_test;
mod disks;
pub mod evidence;
pub mod judge;
pub mod mutants;
pub mod outcome;
pub mod real;
pub mod recheck;
pub mod report;
pub mod rules;
pub mod runner;
pub mod scenario;
pub mod service;
pub mod sim;
pub mod ssh;
