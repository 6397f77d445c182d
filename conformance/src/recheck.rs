//! Judges stored evidence again, without a guest: the same oracle reads the same files.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::RESULT;
use crate::judge::{self, DiskUnderTest};
use crate::outcome::{DiskOutcome, ScenarioOutcome, Verdict};

/// The result of judging evidence again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recheck {
    /// One line for each disk of each edge.
    pub lines: Vec<String>,
    /// Pass only if every disk is judged as before, and as exact.
    pub verdict: Verdict,
}

/// Judges every disk of every edge in `dir`, the directory of a run or of one scenario.
///
/// # Errors
/// The directory holds no evidence, or it cannot be read.
pub async fn recheck(dir: &Utf8Path) -> Result<Recheck> {
    let scenarios = scenarios(dir)?;
    anyhow::ensure!(!scenarios.is_empty(), "{dir} holds no {RESULT} of a scenario");
    let mut recheck = Recheck { lines: Vec::new(), verdict: Verdict::Pass };
    let mut judged = 0;
    for (dir, outcome) in &scenarios {
        for edge in &outcome.edges {
            for disk in &edge.disks {
                let (line, verdict) = judge_again(dir, disk).await;
                recheck.lines.push(format!("{} {} {}: {line}", outcome.name, edge.name, disk.name));
                recheck.verdict = recheck.verdict.and(verdict);
                judged += 1;
            }
        }
    }
    anyhow::ensure!(judged > 0, "{dir} holds no judged disk: nothing was compared, and that is not a pass");
    Ok(recheck)
}

/// The scenarios in a directory, each with its own directory.
fn scenarios(dir: &Utf8Path) -> Result<Vec<(Utf8PathBuf, ScenarioOutcome)>> {
    let mut places = vec![dir.to_owned()];
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        places.push(entry?.path().to_owned());
    }
    let mut found = Vec::new();
    for place in places.into_iter().filter(|place| place.join(RESULT).exists()) {
        let path = place.join(RESULT);
        let text = std::fs::read(&path).with_context(|| format!("read {path}"))?;
        let outcome = serde_json::from_slice(&text).with_context(|| format!("parse {path}"))?;
        found.push((place, outcome));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Judges one disk and compares the result with the stored one.
async fn judge_again(dir: &Utf8Path, disk: &DiskOutcome) -> (String, Verdict) {
    let evidence = &disk.evidence;
    let disk_under_test = DiskUnderTest {
        name: disk.name.clone(),
        initial_image: dir.join(&evidence.base),
        log: dir.join(&evidence.log),
        recovered: dir.join(&evidence.recovered),
        ignored_sectors: evidence
            .ignored_sectors
            .iter()
            .map(|(first, count)| *first..first + count)
            .collect(),
        second_reader: Err("only the oracle judges again".to_owned()),
    };
    match judge::judge(vec![disk_under_test], 0, dir).await {
        Err(error) => (format!("cannot be judged again: {error:#}"), Verdict::Unknown),
        Ok(judged) => {
            let now = &judged.disks[0].outcome;
            if now.of < disk.of {
                let (has, had) = (now.of, disk.of);
                let line = format!(
                    "the write log {} holds only {has} of the {had} writes that it held: it is truncated; \
                     restore it from a copy of the evidence, or run the scenario again",
                    evidence.log
                );
                return (line, Verdict::Unknown);
            }
            // The log may have grown since, but the disk's place in it must be the same.
            let same = (&now.oracle, now.cut) == (&disk.oracle, disk.cut);
            let verdict = match (same, now.oracle.as_str()) {
                (true, "exact") => Verdict::Pass,
                (true, "unknown") => Verdict::Unknown,
                _ => Verdict::Fail,
            };
            let word = if same { "as before" } else { "NOT as before" };
            (format!("{} ({word})", now.words), verdict)
        }
    }
}
