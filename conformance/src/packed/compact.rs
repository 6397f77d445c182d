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
use super::index::PACKED;
use super::read::PackedEvidence;
use super::write::{PackWriter, sync};
use crate::evidence::{RESULT, SEAL, STARTED};
use crate::foreign_files;
use crate::outcome::{ScenarioOutcome, Verdict};

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
    match PackedEvidence::of_scenario(dir)?.map(|packed| packed.damages()) {
        None => pack(dir, outcome)?,
        Some(damages) => ensure!(damages.is_empty(), "{}", damages.join("; ")),
    }
    for path in &disks {
        std::fs::remove_file(path).with_context(|| format!("delete {path}"))?;
    }
    Ok(Some(Compacted { before, after: bytes_on_disk(dir), took: began.elapsed() }))
}

/// Packs the files that the verdict was reached by.
fn pack(dir: &Utf8Path, outcome: &ScenarioOutcome) -> Result<()> {
    let writing = dir.join(WRITING);
    if writing.exists() {
        std::fs::remove_dir_all(&writing).with_context(|| format!("remove {writing}"))?;
    }
    let mut writer = PackWriter::new(writing.clone(), siblings(dir)?)?;
    for (name, division) in divisions(dir, outcome)? {
        writer.add(&name, &dir.join(&name), &division)?;
    }
    writer.finish()?;
    PackedEvidence::open(writing.clone())?.equals_files_in(dir)?;
    for file in [STARTED, SEAL, RESULT] {
        sync(&dir.join(file))?;
    }
    let packed = dir.join(PACKED);
    std::fs::rename(&writing, &packed).with_context(|| format!("make {packed}"))?;
    sync(dir)
}

/// The files that the verdict was reached by, in the order in which they are packed: first what the
/// scenarios of a run share, the disks at the beginning.
fn divisions(dir: &Utf8Path, outcome: &ScenarioOutcome) -> Result<Vec<(String, Division)>> {
    let mut divisions = Vec::new();
    let mut seen = BTreeSet::new();
    let mut logs = BTreeMap::new();
    for disk in outcome.edges.iter().flat_map(|edge| &edge.disks) {
        let evidence = &disk.evidence;
        for name in [&evidence.base, &evidence.log, &evidence.recovered] {
            foreign_files::inside(dir, name).with_context(|| format!("read {name}"))?;
        }
        let path = dir.join(&evidence.base);
        let bytes = std::fs::metadata(&path).with_context(|| format!("read {path}"))?.len();
        logs.entry(&evidence.log).or_insert(bytes);
        for name in [&evidence.base, &evidence.recovered] {
            if seen.insert(name) {
                divisions.push((name.clone(), Division::Disk));
            }
        }
    }
    divisions.extend(logs.into_iter().map(|(name, bytes)| (name.clone(), Division::Log(bytes))));
    Ok(divisions)
}

/// The other scenarios of the run.
fn siblings(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
    let run = dir.parent().context("a scenario lies in a run")?;
    let entries = run.read_dir_utf8().with_context(|| format!("read {run}"))?;
    let mut siblings: Vec<_> = entries.flatten().map(|entry| entry.path().to_owned()).collect();
    siblings.retain(|path| path != dir && path.join(PACKED).is_dir());
    siblings.sort();
    Ok(siblings)
}

/// Every disk image and write log below a folder. Links are not followed.
fn disks_and_logs(dir: &Utf8Path) -> Result<Vec<Utf8PathBuf>> {
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
