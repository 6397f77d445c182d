//! The command `certificate`: writes what may be published about a run.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::report;
use crate::suite::Suite;

/// The name of a certificate in the directory of its run.
const FILE: &str = "certificate.json";

/// Writes it, verifies it and returns the verdict as an exit code.
pub fn command(root: &Utf8Path, run: &Utf8Path, out: Option<&Utf8Path>) -> Result<u8> {
    let dir = report::find(run)?;
    let here = Utf8PathBuf::try_from(std::env::current_dir()?).context("the current directory")?;
    let file = out.map_or_else(|| dir.join(FILE), |out| here.join(out));
    Suite::without_guests(root)?.verdict(&["certificate", dir.as_str(), "--out", file.as_str()])
}
