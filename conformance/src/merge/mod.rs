//! Merges the shards of a run: one directory with the evidence of all of them, as one run would
//! have left it. The reports are then made from that directory like those of any run.
//!
//! - `part`: a shard's directory, read
//! - `fit`: whether shards belong together
//! - `assemble`: the directory of the whole run
//! - `error`: why shards are not merged
//! - `link`: files in a second place, without a second copy of their content

mod assemble;
mod error;
mod fit;
mod link;
mod part;
#[cfg(test)]
mod tests;

use camino::{Utf8Path, Utf8PathBuf};

pub use error::MergeError;
use part::Part;

/// Merges the shards in `dirs` into the directory `out`, and returns a line for each shard that is
/// missing or was killed. Its scenarios are then unknown in the report of the whole run.
///
/// # Errors
/// The shards do not belong together, or there is one twice: then nothing was written. Or evidence
/// cannot be read or written.
pub fn merge(dirs: &[Utf8PathBuf], out: &Utf8Path) -> Result<Vec<String>, MergeError> {
    let parts = dirs.iter().map(|dir| Part::read(dir)).collect::<Result<Vec<_>, _>>()?;
    for dir in dirs {
        if is_inside(out, dir) {
            return Err(MergeError::Refused(format!("{out} lies inside {dir}: choose another --out.")));
        }
    }
    let merged = fit::fit(&parts)?;
    assemble::assemble(&parts, &merged, out)?;
    Ok(merged.complaints())
}

fn is_inside(path: &Utf8Path, dir: &Utf8Path) -> bool {
    let real = |path: &Utf8Path| path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
    real(path).starts_with(real(dir))
}
