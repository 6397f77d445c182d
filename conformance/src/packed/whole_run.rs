//! Packs what is left of a run to pack.

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use super::compact::{Compacted, compact};
use crate::evidence::{RESULT, attempt_of, check_seal};
use crate::foreign_files;
use crate::outcome::ScenarioOutcome;

/// Packs the evidence of each scenario of the run in `dir` that passed, and names those that there
/// was something to pack of. A scenario whose result is missing or was edited stays as it is.
///
/// # Errors
/// The directory cannot be read, or the evidence of a scenario cannot be packed.
pub fn compact_run(dir: &Utf8Path) -> Result<Vec<(String, Compacted)>> {
    let mut packed = Vec::new();
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if attempt_of(name).is_some() || !entry.file_type()?.is_dir() {
            continue;
        }
        let Some(outcome) = sealed_outcome(path) else { continue };
        let done = compact(path, &outcome).with_context(|| format!("pack the evidence in {path}"))?;
        packed.extend(done.map(|done| (name.to_owned(), done)));
    }
    packed.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(packed)
}

/// The outcome of a scenario, if it is what the scenario wrote.
fn sealed_outcome(dir: &Utf8Path) -> Option<ScenarioOutcome> {
    let text = foreign_files::read(&dir.join(RESULT)).ok()?;
    check_seal(dir, &text).ok()?;
    serde_json::from_slice(&text).ok()
}
