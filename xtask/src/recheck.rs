//! The command `recheck`: judges the stored evidence of a run again,
//! and verifies a certificate.

use anyhow::Result;
use camino::Utf8Path;

use crate::error::usage;
use crate::suite::Suite;

/// Judges it and returns the verdict as an exit code.
pub fn command(root: &Utf8Path, dir: &Utf8Path, certificate: Option<&Utf8Path>) -> Result<u8> {
    let path = dir.canonicalize_utf8().map_err(|error| {
        usage(format!("Looked for the evidence of a run in {dir} and could not read it ({error})."))
    })?;
    let certificate = certificate.map(|file| {
        file.canonicalize_utf8().map_err(|error| usage(format!("There is no certificate {file} ({error}).")))
    });
    let certificate = certificate.transpose()?;
    let mut arguments = vec!["recheck", path.as_str()];
    if let Some(file) = &certificate {
        arguments.extend(["--certificate", file.as_str()]);
    }
    Suite::without_guests(root)?.verdict(&arguments)
}
