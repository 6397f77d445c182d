//! Packs the files of edges while their scenario goes on, so that many cycles need no more disk than
//! two and what their packs take.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;

use super::compact::{divisions, pack};
use super::evidence::numbered;
use crate::outcome::EdgeOutcome;

/// The edges of a scenario whose files were packed.
pub struct EarlierEdges {
    dir: Utf8PathBuf,
    /// How many folders of packs there are.
    folders: u32,
    /// The length of each packed file.
    lengths: BTreeMap<String, u64>,
}

impl EarlierEdges {
    /// Nothing is packed yet of the scenario in `dir`.
    #[must_use]
    pub fn none(dir: Utf8PathBuf) -> Self {
        Self { dir, folders: 0, lengths: BTreeMap::new() }
    }

    /// Packs the files that these edges were judged by into a folder, and deletes them. Nothing may
    /// write to these files any more, nor read them by their names.
    ///
    /// # Errors
    /// The evidence cannot be read or written. It is complete nevertheless.
    pub fn pack(&mut self, edges: &[EdgeOutcome]) -> Result<()> {
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
            let path = self.dir.join(&name);
            std::fs::remove_file(&path).with_context(|| format!("delete {path}"))?;
            self.lengths.insert(name, length);
        }
        Ok(())
    }
}
