//! The command `recheck`: judges the stored evidence of a run again.

use anyhow::Result;
use camino::Utf8Path;

use crate::error::usage;
use crate::suite::Suite;

/// Judges it and returns the verdict as an exit code.
pub fn command(root: &Utf8Path, dir: &Utf8Path) -> Result<u8> {
    let path = dir.canonicalize_utf8().map_err(|error| {
        usage(format!("Looked for the evidence of a run in {dir} and could not read it ({error})."))
    })?;
    Suite::on_ready_machine(root)?.verdict(&["recheck", path.as_str()])
}
