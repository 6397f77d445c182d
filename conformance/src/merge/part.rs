//! The directory of one shard.

use std::collections::BTreeSet;

use anyhow::{Context as _, anyhow};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::error::MergeError;
use crate::evidence::{STARTED, attempt_of};
use crate::foreign_files;
use crate::host_facts::noted_host;
use crate::outcome::{DIVISION, Division, HostFacts, Request, Results, Shard, ShardState, from_stored};

/// The file that says with which exit code a shard ended. `cargo xtask` writes it.
const ENDED: &str = "ended.json";
/// The report of a run.
const RESULTS: &str = "results.json";

/// A shard, as its directory tells of it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) dir: Utf8PathBuf,
    pub(super) shard: Shard,
    pub(super) request: Request,
    pub(super) state: ShardState,
    /// Its host; an unknown one if it neither noted nor reported any.
    pub(super) host: HostFacts,
    /// Its report, if it got so far.
    pub(super) results: Option<Results>,
}

#[derive(Deserialize)]
struct Ended {
    code: u8,
}

impl Part {
    /// Reads the shard in `dir`.
    pub(super) fn read(dir: &Utf8Path) -> Result<Self, MergeError> {
        let shard = match Division::of_run(dir)? {
            Division::Shard(shard) => shard,
            Division::Merged(_) => return Err(refused(dir, "is a merged run and no shard")),
            Division::Whole => {
                return Err(refused(dir, &format!("is no shard of a run: it has no {DIVISION}")));
            }
        };
        let names: Vec<&String> = shard.divided.iter().flatten().collect();
        let once = names.iter().collect::<BTreeSet<_>>().len() == names.len();
        if shard.divided.len() != shard.of || !(1..=shard.of).contains(&shard.number) || !once {
            return Err(anyhow!("{}: the division is malformed", dir.join(DIVISION)).into());
        }
        let results = stored(dir, RESULTS, |text| Ok(from_stored(text)?))?;
        let ended: Option<Ended> = stored(dir, ENDED, |text| Ok(serde_json::from_slice(text)?))?;
        let state = ended.map_or(ShardState::Killed, |ended| ShardState::Ended(ended.code));
        let reported = || results.as_ref().map(|results| results.host.clone());
        let host = noted_host(dir)?.or_else(reported).unwrap_or_else(HostFacts::unknown);
        let request = Request::of_run(dir)?;
        let part = Self { dir: dir.to_owned(), shard, request, state, host, results };
        part.require_own_evidence()?;
        Ok(part)
    }

    /// The scenarios that it had to run.
    pub(super) fn own(&self) -> &[String] {
        &self.shard.divided[self.shard.number - 1]
    }

    /// Refuses evidence of scenarios that another shard had to run.
    fn require_own_evidence(&self) -> Result<(), MergeError> {
        let entries = self.dir.read_dir_utf8().with_context(|| format!("read {}", self.dir))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", self.dir))?;
            let name = entry.file_name();
            let scenario = attempt_of(name).unwrap_or(name);
            if entry.path().join(STARTED).exists() && !self.own().iter().any(|own| own == scenario) {
                let Shard { number, of, .. } = self.shard;
                let why =
                    format!("holds evidence of {scenario}, which shard {number} of {of} did not have to run");
                return Err(refused(&self.dir, &why));
            }
        }
        Ok(())
    }
}

/// What a file of a shard holds, if the shard wrote it.
fn stored<T>(
    dir: &Utf8Path,
    name: &str,
    understand: impl FnOnce(&[u8]) -> anyhow::Result<T>,
) -> Result<Option<T>, MergeError> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let text = foreign_files::read(&path).with_context(|| format!("read {path}"))?;
    Ok(Some(understand(&text).with_context(|| format!("understand {path}"))?))
}

fn refused(dir: &Utf8Path, why: &str) -> MergeError {
    MergeError::Refused(format!("{dir} {why}."))
}
