//! The command `crash-states`: examines the states in which a power loss may have left the disks of
//! a run's guests.

use anyhow::Result;
use camino::Utf8Path;

use crate::error::usage;
use crate::suite::Suite;

/// Examines them and returns the verdict as an exit code.
pub fn command(root: &Utf8Path, evidence: &Utf8Path, samples: usize, seed: u64) -> Result<u8> {
    let path = evidence.canonicalize_utf8().map_err(|error| {
        usage(format!("Looked for the evidence of a run in {evidence} and could not read it ({error})."))
    })?;
    let (samples, seed) = (samples.to_string(), seed.to_string());
    let arguments = ["crash-states", path.as_str(), "--samples", &samples, "--seed", &seed];
    Suite::on_ready_machine(root)?.verdict(&arguments)
}
