//! The rules by which a core is judged.
//!
//! - [`catalogue()`]: every rule, from `conformance/rules.toml`, and a constant for each in [`ids`]
//! - [`RuleLog`]: what a scenario or a check has found out about them
//! - [`Score`]: what a finding means for the verdict
//! - [`coverage`]: which checks judge a rule, and which rules a run did not judge
//! - [`page`] renders `docs/rules.md`
//! - [`profile`]: external facts that differ between editions of the documentation

mod catalogue;
pub mod coverage;
#[cfg(test)]
mod field_page;
mod log;
pub mod page;
pub mod profile;
mod score;

pub use catalogue::{Area, Class, Rule, RuleId, Source, areas, catalogue, ids};
pub use log::RuleLog;
pub use score::Score;
