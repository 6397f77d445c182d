//! The directory of the whole run.

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde::Serialize;

use super::link::link_tree;
use super::part::Part;
use crate::evidence::{ASKED, PROGRESS};
use crate::foreign_files;
use crate::host_facts::HOST;
use crate::outcome::{DIVISION, Division, Merged, Request};
use crate::report::TESTS;

/// The file that holds the output of the test runner and the tests.
const LOG: &str = "nextest.log";
/// Most bytes of the log of a shard.
const LARGEST_LOG: u64 = 1 << 30;
/// Files of a shard that the whole run has its own of.
const OWN: [&str; 10] = [
    ASKED,
    DIVISION,
    HOST,
    REQUEST,
    TESTS,
    "ended.json",
    "results.json",
    "junit.xml",
    "report.html",
    "summary.md",
];
/// The file that holds the request of a run.
const REQUEST: &str = "request.json";

/// Puts the evidence of all shards into `out`. What was asked for is written first: if the merge is
/// killed, everything that is not there yet is unknown.
pub(super) fn assemble(parts: &[Part], merged: &Merged, out: &Utf8Path) -> Result<()> {
    let asked: Vec<&String> = merged.shards.iter().flat_map(|shard| &shard.scenarios).collect();
    write(&out.join(ASKED), &asked)?;
    write(&out.join(DIVISION), &Division::Merged(merged.clone()))?;
    if let Some(first) = parts.first() {
        let request = Request { command: first.shard.command.clone(), ..first.request.clone() };
        write(&out.join(REQUEST), &request)?;
    }
    let mut by_number: Vec<&Part> = parts.iter().collect();
    by_number.sort_by_key(|part| part.shard.number);
    for part in by_number {
        append(&part.dir.join(PROGRESS), &out.join(PROGRESS))?;
        append(&part.dir.join(LOG), &out.join(LOG))?;
        let entries = part.dir.read_dir_utf8().with_context(|| format!("read {}", part.dir))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", part.dir))?;
            let name = entry.file_name();
            if !OWN.contains(&name) && ![PROGRESS, LOG].contains(&name) {
                link_tree(entry.path(), &out.join(name))?;
            }
        }
    }
    Ok(())
}

fn write(path: &Utf8Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value).with_context(|| format!("write {path}"))?;
    std::fs::write(path, text).with_context(|| format!("write {path}"))
}

/// Appends a file of lines to that of the whole run. A shard that was killed may have left half a
/// line, which becomes a line of its own.
fn append(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    let mut lines = foreign_files::read_at_most(from, LARGEST_LOG).with_context(|| format!("read {from}"))?;
    if lines.last().is_some_and(|last| *last != b'\n') {
        lines.push(b'\n');
    }
    let file = File::options().create(true).append(true).open(to);
    file.and_then(|mut file| file.write_all(&lines)).with_context(|| format!("write {to}"))
}
