//! Notes what each cycle took and left behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::CYCLES;
use super::usage::{self, Usage};
use crate::evidence::Evidence;
use crate::outcome::{EdgeOutcome, Verdict};

/// How the oracle calls disks whose place in the write order is known.
const EXACT: &str = "exact";

/// A cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CycleLine {
    /// Its number, from 1.
    pub(super) cycle: u32,
    /// How many were asked for.
    pub(super) of: u32,
    /// The seed of the machines, if they are simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<u64>,
    /// How long it took by the host's clock, in milliseconds.
    pub(super) ms: u64,
    /// The edges that it judged.
    pub(super) edges: Edges,
    /// What processes held at its end, by what they are.
    pub(super) processes: BTreeMap<String, Usage>,
    /// Bytes on the disk at its end.
    pub(super) disk: Disk,
}

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Disk {
    /// The scenario's directory with its evidence and all disks, which each cycle adds to.
    pub(super) run: u64,
    /// The core's state.
    pub(super) core: u64,
}

/// How many edges were judged, and how many of these passed with every disk exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edges {
    pub(super) judged: u64,
    pub(super) exact: u64,
}

impl Edges {
    /// Counts edges.
    pub(crate) fn of<'a>(edges: impl IntoIterator<Item = &'a EdgeOutcome>) -> Self {
        let mut all = Self::default();
        for edge in edges {
            let exact = edge.disks.iter().all(|disk| disk.oracle == EXACT) && !edge.disks.is_empty();
            all.judged += 1;
            all.exact += u64::from(exact && edge.verdict == Verdict::Pass);
        }
        all
    }

    /// So many edges, all of them exact.
    #[cfg(test)]
    pub(crate) fn all_exact(judged: u64) -> Self {
        Self { judged, exact: judged }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { judged: self.judged + other.judged, exact: self.exact + other.exact }
    }

    fn since(self, before: Self) -> Self {
        Self { judged: self.judged - before.judged, exact: self.exact - before.exact }
    }
}

/// The log of a scenario that runs several cycles over the same machines.
pub(crate) struct CycleLog {
    file: File,
    dir: Utf8PathBuf,
    of: u32,
    seed: Option<u64>,
    number: u32,
    began: Instant,
    before: Edges,
}

impl CycleLog {
    /// Begins the log, unless there is only one cycle. Call it as the first one begins.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn begin(evidence: &Evidence, cycles: u32, seed: Option<u64>) -> Result<Option<Self>> {
        if cycles < 2 {
            return Ok(None);
        }
        let dir = evidence.dir().to_owned();
        let path = dir.join(CYCLES);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("open {path}"))?;
        let (began, before) = (Instant::now(), Edges::default());
        Ok(Some(Self { file, dir, of: cycles, seed, number: 0, began, before }))
    }

    /// Notes the end of a cycle. `edges` counts all edges that were judged since the first cycle
    /// began; `core` is the directory of the core's state.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn ends(&mut self, edges: Edges, core: &Path) -> Result<()> {
        self.number += 1;
        let line = CycleLine {
            cycle: self.number,
            of: self.of,
            seed: self.seed,
            ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            edges: edges.since(self.before),
            processes: usage::now(),
            disk: Disk { run: usage::disk_of(&self.dir), core: usage::disk(core) },
        };
        let text = serde_json::to_string(&line)?;
        writeln!(self.file, "{text}").with_context(|| format!("write {CYCLES}"))?;
        self.before = edges;
        self.next_begins();
        Ok(())
    }

    /// Notes that the next cycle begins only now. What has happened since the last one ended is no
    /// part of a cycle.
    pub(crate) fn next_begins(&mut self) {
        self.began = Instant::now();
    }
}
