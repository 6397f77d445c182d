//! The command `mutants`: deliberately faulty cores, each of which the suite must reject.
//!
//! - [`on_guests`]: mutants of the matrix, judged by scenarios on real guests. Those in memory are
//!   judged by the suite's own binary.
//! - [`generated`]: mutants of the built-in core's source, made by cargo-mutants
//! - [`mutant`], [`mutated_core`]: one of these; the core with it, built and judged
//! - [`equivalent`]: those that no check can tell from the original, each with its reason

mod equivalent;
mod generated;
mod mutant;
mod mutated_core;
mod on_guests;

use anyhow::Result;
use camino::Utf8Path;

use crate::cli::MutantsArgs;
use crate::conformance::scenarios::TierChoice;
use crate::setup::{self, daemon};
use crate::suite::Suite;
use crate::system::LiveSystem;

/// Judges the mutants that were asked for. Returns 0 if enough of them were rejected.
pub fn command(root: &Utf8Path, arguments: &MutantsArgs) -> Result<u8> {
    setup::ensure(root, arguments.consent.yes)?;
    if arguments.generated {
        let (size, seed) = (arguments.sample as usize, arguments.seed);
        let sample = generated::Sample { names: &arguments.names, size, seed };
        return generated::judge_sample(root, &sample);
    }
    let suite = Suite::build(root, daemon::uri(&LiveSystem))?;
    let mut code = 0;
    if arguments.tier != TierChoice::Real {
        let names = arguments.names.iter().map(String::as_str);
        code = suite.verdict(&std::iter::once("mutants").chain(names).collect::<Vec<_>>())?;
    }
    if arguments.tier != TierChoice::Sim {
        code = code.max(on_guests::judge(root, &suite, arguments)?);
    }
    Ok(code)
}
