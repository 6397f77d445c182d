//! Packs the files of edges while their scenario goes on, so that many cycles need little more disk
//! than two.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::compact::{disks_and_logs, divisions, pack};
use super::evidence::numbered;
use crate::evidence::EDGES;
use crate::outcome::EdgeOutcome;

/// The edges of earlier cycles of a scenario, whose files are packed.
pub struct EarlierEdges {
    dir: Utf8PathBuf,
    /// How many folders of packs there are.
    folders: u32,
    /// The length of each packed file.
    lengths: BTreeMap<String, u64>,
    /// The edges of the last cycle. They are packed when the next one has ended: the guest that
    /// runs as a cycle ends writes to a log that edges of both are judged by.
    last: Vec<EdgeOutcome>,
    /// The disks and logs in the directories of edges when the last cycle had ended.
    left: Vec<Utf8PathBuf>,
}

impl EarlierEdges {
    /// Nothing is packed yet of the scenario in `dir`.
    #[must_use]
    pub fn none(dir: Utf8PathBuf) -> Self {
        Self { dir, folders: 0, lengths: BTreeMap::new(), last: Vec::new(), left: Vec::new() }
    }

    /// Notes all edges of a cycle that has ended, each of which passed. Packs the files that those
    /// of the cycle before were judged by, and deletes them and what else those edges left.
    ///
    /// # Errors
    /// The evidence cannot be read or written. It is complete nevertheless.
    pub fn cycle_ended(&mut self, edges: Vec<EdgeOutcome>) -> Result<()> {
        let earlier = std::mem::replace(&mut self.last, edges);
        self.pack(&earlier)?;
        let needed: BTreeSet<Utf8PathBuf> = self
            .last
            .iter()
            .flat_map(|edge| &edge.disks)
            .flat_map(|disk| [&disk.evidence.base, &disk.evidence.log, &disk.evidence.recovered])
            .map(|name| self.dir.join(name))
            .collect();
        for path in self.left.iter().filter(|path| !needed.contains(*path) && path.exists()) {
            delete(path)?;
        }
        let of_edges = self.dir.join(EDGES);
        self.left = if of_edges.is_dir() { disks_and_logs(&of_edges)? } else { Vec::new() };
        Ok(())
    }

    fn pack(&mut self, edges: &[EdgeOutcome]) -> Result<()> {
        let files = divisions(&self.dir, edges, |name| self.lengths.get(name).copied())?;
        if files.is_empty() {
            return Ok(());
        }
        let mut lengths = Vec::new();
        for (name, _) in &files {
            let path = self.dir.join(name);
            lengths.push(std::fs::metadata(&path).with_context(|| format!("read {path}"))?.len());
        }
        self.folders += 1;
        pack(&self.dir, &numbered(&self.dir, self.folders), &files, &[])?;
        for ((name, _), length) in files.into_iter().zip(lengths) {
            delete(&self.dir.join(&name))?;
            self.lengths.insert(name, length);
        }
        Ok(())
    }
}

fn delete(path: &Utf8Path) -> Result<()> {
    std::fs::remove_file(path).with_context(|| format!("delete {path}"))
}
