//! The command `mutants`: deliberately faulty cores, each of which the suite must reject.
//!
//! - [`generated`]: mutants of the built-in core's source, made by cargo-mutants
//! - [`equivalent`]: those that no check can tell from the original, each with its reason

mod equivalent;
mod generated;

use anyhow::Result;
use camino::Utf8Path;

use crate::cli::MutantsArgs;
use crate::setup;

/// Judges the mutants that were asked for. Returns 0 if enough of them were rejected.
pub fn command(root: &Utf8Path, arguments: &MutantsArgs) -> Result<u8> {
    setup::ensure(root, arguments.consent.yes)?;
    generated::judge_sample(root, arguments.sample as usize, arguments.seed)
}
