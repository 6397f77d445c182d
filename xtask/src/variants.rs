//! The command `variants`: sound cores that do things differently, each of which the suite must
//! accept.

use anyhow::Result;
use camino::Utf8Path;

use crate::cli::VariantsArgs;
use crate::setup::{self, daemon};
use crate::suite::Suite;
use crate::system::LiveSystem;

/// Runs the checks in memory on each of them, prints a line for each, and returns 0 if all pass.
pub fn command(root: &Utf8Path, arguments: &VariantsArgs) -> Result<u8> {
    setup::ensure(root, arguments.consent.yes)?;
    let suite = Suite::build(root, daemon::uri(&LiveSystem))?;
    let names = arguments.names.iter().map(String::as_str);
    let rule = arguments.rule.iter().flat_map(|rule| ["--rule", rule]);
    suite.verdict(&["variants"].into_iter().chain(names).chain(rule).collect::<Vec<_>>())
}
