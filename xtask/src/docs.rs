//! The command `docs`: the pages of documentation that are generated from data and code.

use anyhow::Result;
use camino::Utf8Path;

use crate::suite::Suite;

/// Writes `docs/rules.md`, `docs/states.md`, `docs/protocol.md`, `docs/regressions.md` with its
/// plots, `docs/results.schema.json` and `adapters/wire/openrpc.json`. Unit tests fail while one is
/// out of date. With `experiments`, repeats the simulations behind `docs/regressions.md` first.
pub fn command(root: &Utf8Path, experiments: bool) -> Result<()> {
    if experiments {
        Suite::without_guests(root)?.must(&["docs", root.as_str(), "--experiments"])?;
    }
    // The figures of the simulations are compiled in.
    Suite::without_guests(root)?.must(&["docs", root.as_str()])
}
