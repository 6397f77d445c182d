//! Results for a report: from the evidence of a run, or from those that an earlier report stored.

use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use super::collect::collect;
use crate::foreign_files;
use crate::outcome::{HostFacts, Results, StoredError, from_stored};

/// The file that holds the results of a run, in the run's directory.
pub(crate) const RESULTS: &str = "results.json";

/// The results of the run in `dir`. A report that is written again, perhaps on another host, keeps
/// the host of the first one; `this_host` describes the present host for the first report. If the
/// evidence is gone or has the form of an older suite, the stored results are all there is. What an
/// earlier report found worse than in earlier runs is left out.
///
/// # Errors
/// There is neither evidence nor a result, or the stored results are malformed or from a newer
/// suite.
pub fn load(dir: &Utf8Path, this_host: impl FnOnce() -> Result<HostFacts>) -> Result<Results> {
    let Some(stored) = stored(dir)? else { return collect(dir, this_host()?) };
    let alone = Results { regressions: Vec::new(), ..stored.results };
    if stored.was_older {
        return Ok(alone);
    }
    let host = alone.host.clone();
    match collect(dir, host) {
        Ok(results) => Ok(Results { reported: alone.reported, ..results }),
        Err(_) => Ok(alone),
    }
}

struct Stored {
    results: Results,
    /// Whether an older suite wrote them, whose evidence this one cannot read.
    was_older: bool,
}

/// The results that an earlier report stored in `dir`, if one did.
fn stored(dir: &Utf8Path) -> Result<Option<Stored>> {
    let path = dir.join(RESULTS);
    let text = match foreign_files::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("read {path}"))?,
    };
    let read = from_stored(&text).and_then(|results| {
        let schema: serde_json::Value = serde_json::from_slice(&text)?;
        Ok::<_, StoredError>(Stored { was_older: schema["schema"] != results.schema, results })
    });
    Ok(Some(read.with_context(|| format!("tried to read {path}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str) -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap().to_owned();
        let from = format!("{}/tests/stored/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(from, dir.join(RESULTS)).unwrap();
        (keep, dir)
    }

    fn no_host() -> Result<HostFacts> {
        anyhow::bail!("the host of today was asked for")
    }

    #[test]
    fn a_report_can_be_written_again_from_results_alone_and_keeps_its_host() {
        for schema in 1..=crate::outcome::SCHEMA {
            let (_keep, dir) = kept(&format!("results-schema-{schema}.json"));
            let results = load(&dir, no_host).unwrap();
            assert!(!results.host.kernel.is_empty());
            super::super::write(&dir, &results).unwrap();
            assert!(dir.join("report.html").exists());
            assert_eq!(load(&dir, no_host).unwrap().scenarios.len(), results.scenarios.len());
        }
    }

    #[test]
    fn a_directory_without_evidence_and_results_is_an_error() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        assert!(load(dir, || Ok(HostFacts::default())).is_err());
    }

    #[test]
    fn results_of_a_newer_suite_are_neither_read_nor_overwritten() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::write(dir.join(RESULTS), r#"{"schema": 999}"#).unwrap();
        let error = format!("{:#}", load(dir, no_host).unwrap_err());
        assert!(error.contains("results.json") && error.contains("schema 999"), "{error}");
    }
}
