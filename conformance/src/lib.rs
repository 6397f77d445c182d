//! The suite: rules, scenarios, checks, mutants, evidence, verdicts and reports.
//!
//! - [`rules`]: the catalogue, what a run found out about its rules, and how that is scored
//! - [`scenario`]: the scenarios, as data
//! - [`real`]: failover → reprotect → failback → reprotect on real guests, judged at every edge
//! - [`sim`]: the same core in memory: checks of single rules, and whole cycles for many seeds
//! - [`core_under_test`]: the only place that opens a core; [`wire_core`]: cores behind the wire
//!   protocol
//! - [`kills`]: a core that is killed at chosen moments and started again
//! - `refusal`: what a core may answer to a request that a rule forbids
//! - [`missing`]: the capability that a core lacks; `capability_gate` notes it
//! - [`mutants`]: cores made faulty on purpose, which the suite must fail
//! - [`variants`]: sound cores that do things differently, which the suite must accept
//! - [`acceptance`]: whether it does
//! - [`core_change`]: which of these a run asks for
//! - [`mutation`]: whether the checks in memory find every mutant
//! - [`blame`]: whether an error is the core's failure or the test host's
//! - [`judge`]: what the oracle says about the disks of a recovered machine
//! - [`hydration`]: what hydration may edit on the first disk of a recovered machine
//! - [`windows_disk`]: the Windows volume of a guest's disk
//! - [`registry`]: what a core may change in the registry of a Windows machine
//! - [`mod@network_cards`]: machines with two network cards
//! - [`runtime`]: the runtime of a command or a scenario, which a call without end does not keep
//! - [`supervision`]: a test process ends with its runner
//! - [`ssh`]: log-in to a machine from outside
//! - [`evidence`]: what a run leaves behind; [`packed`] makes it small; [`recheck`] judges it
//!   again; [`evidence_command`], [`crash_states_command`]: commands about it
//! - [`soak`]: whether many cycles keep everything flat
//! - [`certificate`]: what a vendor may publish about a run, and a reader can verify
//! - [`timeline`]: moments of a scenario, which its report draws
//! - `host_watch`: whether the host's clock was set, or the suite stood still, so that no time can
//!   be judged
//! - [`mod@host_facts`]: what a report says about the test host
//! - [`outcome`]: the result of a run, with its [`verdict`], and the schema of `results.json`
//! - [`report`]: the summary on the terminal, `results.json`, JUnit, HTML and Markdown;
//!   [`report_command`] writes them, adds the run to the history and compares it with earlier ones
//! - [`merge`]: one run from its shards
//! - [`history`]: every run in one SQLite file; [`history_command`] shows it; [`regressions`]: what
//!   became worse since
//! - [`generated_pages`]: the pages that are generated from data and code
//! - [`mod@bench`]: the speed of the built-in core beside that of other programs

// The fuzz targets name this crate, also where its own tests run them.
#[cfg(test)]
extern crate self as conformance;

pub mod acceptance;
pub mod bench;
pub mod blame;
mod capability_gate;
pub mod certificate;
pub mod context;
pub mod core_change;
pub mod core_under_test;
pub mod crash_states_command;
mod digest;
mod disks;
pub mod evidence;
pub mod evidence_command;
mod foreign_files;
#[cfg(test)]
mod fuzz_corpus;
pub mod generated_pages;
pub mod history;
pub mod history_command;
pub mod host_facts;
mod host_watch;
pub mod hydration;
pub mod judge;
pub mod kills;
pub mod merge;
pub mod missing;
pub mod mutants;
pub mod mutation;
pub mod network_cards;
pub mod outcome;
pub mod packed;
pub mod real;
pub mod recheck;
mod refusal;
pub mod registry;
pub mod regressions;
pub mod report;
pub mod report_command;
pub mod rules;
pub mod runner;
pub mod runtime;
pub mod scenario;
pub mod service;
pub mod sim;
pub mod soak;
pub mod ssh;
pub mod supervision;
pub mod timeline;
pub mod variants;
pub mod verdict;
pub mod windows_disk;
pub mod wire_core;
