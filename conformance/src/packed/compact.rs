//! Replaces the disks and write logs of a scenario that passed by packs.
//!
//! At every moment of it the scenario is complete, whenever the suite is killed: the packs are
//! written under another name, compared with the files and renamed, all of it durably, before the
//! first file is deleted. A folder under the other name is what a killed suite left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use harness::reaper::bytes_on_disk;

use super::blocks::Division;
use super::evidence::{PackedEvidence, folders_of};
use super::folder::PackFolder;
use super::index::PACKED;
use super::write::{PackWriter, sync};
use crate::evidence::{RESULT, SEAL, STARTED};
use crate::foreign_files;
use crate::outcome::{EdgeOutcome, ScenarioOutcome, Verdict};

/// The name of the folder until it is complete.
const WRITING: &str = "packed.writing";
/// Endings of the names of disk images and write logs. `recheck` needs those that a verdict was
/// reached by; the others are deleted once a scenario has passed.
const DISKS_AND_LOGS: [&str; 6] = ["raw", "writes", "qcow2", "vmdk", "vhd", "vhdx"];

/// What it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes on the disk before.
    pub before: u64,
    /// Bytes on the disk since then. A pack that scenarios share counts for each of them.
    pub after: u64,
    /// How long it took.
    pub took: Duration,
}

/// Packs the evidence of the scenario in `dir`, and deletes the files that were packed and the disk
/// images that no verdict depends on. What an earlier call did not finish is finished. The evidence
/// of a scenario that did not pass stays as it is; then, or if there is nothing to do, there is
/// nothing to report.
///
/// # Errors
/// The evidence cannot be read or written. It is complete nevertheless.
pub fn compact(dir: &Utf8Path, outcome: &ScenarioOutcome) -> Result<Option<Compacted>> {
    if outcome.verdict != Verdict::Pass {
        return Ok(None);
    }
    let began = Instant::now();
    let disks = disks_and_logs(dir)?;
    if disks.is_empty() {
        return Ok(None);
    }
    let before = bytes_on_disk(dir);
    if !dir.join(PACKED).exists() {
        let packed = PackedEvidence::of_scenario(dir)?;
        let length = |name: &str| packed.as_ref().and_then(|packed| packed.length(name));
        let files = divisions(dir, &outcome.edges, length)?;
        pack(dir, &dir.join(PACKED), &files, &[STARTED, SEAL, RESULT])?;
    }
    let damages = PackedEvidence::of_scenario(dir)?.map(|packed| packed.damages()).unwrap_or_default();
    ensure!(damages.is_empty(), "{}", damages.join("; "));
    for path in &disks {
        std::fs::remove_file(path).with_context(|| format!("delete {path}"))?;
    }
    Ok(Some(Compacted { before, after: bytes_on_disk(dir), took: began.elapsed() }))
}

/// Packs files into a folder, and makes it and `others` durable.
pub(super) fn pack(
    dir: &Utf8Path,
    folder: &Utf8Path,
    files: &[(String, Division)],
    others: &[&str],
) -> Result<()> {
    let writing = dir.join(WRITING);
    if writing.exists() {
        std::fs::remove_dir_all(&writing).with_context(|| format!("remove {writing}"))?;
    }
    let mut writer = PackWriter::new(writing.clone(), folders_of_run(dir)?)?;
    for (name, division) in files {
        writer.add(name, &dir.join(name), division)?;
    }
    writer.finish()?;
    PackFolder::open(writing.clone())?.equals_files_in(dir)?;
    for file in others {
        sync(&dir.join(file))?;
    }
    std::fs::rename(&writing, folder).with_context(|| format!("make {folder}"))?;
    sync(dir)
}

/// The files that edges were judged by, in the order in which they are packed: first what the
/// scenarios of a run share, the disks at the beginning. Those whose length is known are packed.
pub(super) fn divisions(
    dir: &Utf8Path,
    edges: &[EdgeOutcome],
    length: impl Fn(&str) -> Option<u64>,
) -> Result<Vec<(String, Division)>> {
    let mut divisions = Vec::new();
    let mut seen = BTreeSet::new();
    let mut logs = BTreeMap::new();
    for disk in edges.iter().flat_map(|edge| &edge.disks) {
        let evidence = &disk.evidence;
        for name in [&evidence.base, &evidence.log, &evidence.recovered] {
            let path = foreign_files::inside(dir, name).with_context(|| format!("read {name}"))?;
            // The packs hold what it was. To delete it as packed would lose what it is now.
            ensure!(length(name).is_none() || !path.exists(), "{path} was written again after it was packed");
        }
        if length(&evidence.log).is_none() && !logs.contains_key(&evidence.log) {
            let path = dir.join(&evidence.base);
            let bytes = match length(&evidence.base) {
                Some(bytes) => bytes,
                None => std::fs::metadata(&path).with_context(|| format!("read {path}"))?.len(),
            };
            logs.insert(&evidence.log, bytes);
        }
        for name in [&evidence.base, &evidence.recovered] {
            if length(name).is_none() && seen.insert(name) {
                divisions.push((name.clone(), Division::Disk));
            }
        }
    }
    divisions.extend(logs.into_iter().map(|(name, bytes)| (name.clone(), Division::Log(bytes))));
    Ok(divisions)
}

/// The folders of packs of all scenarios of the run.
fn folders_of_run(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let run = dir.parent().context("a scenario lies in a run")?;
    let mut folders = Vec::new();
    for entry in run.read_dir_utf8().with_context(|| format!("read {run}"))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.extend(folders_of(entry.path())?);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Every disk image and write log below a folder. Links are not followed.
pub(super) fn disks_and_logs(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let mut found = Vec::new();
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            found.extend(disks_and_logs(path)?);
        } else if kind.is_file() && path.extension().is_some_and(|ending| DISKS_AND_LOGS.contains(&ending)) {
            found.push(path.to_owned());
        }
    }
    Ok(found)
}
