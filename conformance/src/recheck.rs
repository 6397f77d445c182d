//! Judges stored evidence again, offline: the same oracle over the same files, without a guest.

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::RESULT;
use crate::judge::{self, DiskUnderTest};
use crate::outcome::{DiskOutcome, ScenarioOutcome, Verdict};

/// What judging again brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recheck {
    /// A line for each disk of each edge.
    pub lines: Vec<String>,
    /// Pass only if every disk is judged as it was, and as exact.
    pub verdict: Verdict,
}

/// Judges every disk of every edge in `dir`, a run's directory or one scenario's.
///
/// # Errors
/// There is no evidence, or it cannot be read.
pub async fn recheck(dir: &Utf8Path) -> Result<Recheck> {
    let scenarios = scenarios(dir)?;
    anyhow::ensure!(!scenarios.is_empty(), "{dir} holds no scenario's {RESULT}");
    let mut recheck = Recheck { lines: Vec::new(), verdict: Verdict::Pass };
    let mut judged = 0;
    for (dir, outcome) in &scenarios {
        for edge in &outcome.edges {
            for disk in &edge.disks {
                let (line, verdict) = again(dir, disk).await;
                recheck.lines.push(format!("{} {} {}: {line}", outcome.name, edge.name, disk.name));
                recheck.verdict = recheck.verdict.and(verdict);
                judged += 1;
            }
        }
    }
    anyhow::ensure!(judged > 0, "{dir} holds no judged disk: nothing was compared, which is no pass");
    Ok(recheck)
}

fn scenarios(dir: &Utf8Path) -> Result<Vec<(Utf8PathBuf, ScenarioOutcome)>> {
    let mut places = vec![dir.to_owned()];
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        places.push(entry?.path().to_owned());
    }
    let mut found = Vec::new();
    for place in places.into_iter().filter(|place| place.join(RESULT).exists()) {
        let path = place.join(RESULT);
        let text = std::fs::read(&path).with_context(|| format!("read {path}"))?;
        let outcome = serde_json::from_slice(&text).with_context(|| format!("understand {path}"))?;
        found.push((place, outcome));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

async fn again(dir: &Utf8Path, disk: &DiskOutcome) -> (String, Verdict) {
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
                    "the write log {} holds {has} of the {had} writes it held: it was cut short; take it from a \
                     copy of the evidence, or run the scenario again",
                    evidence.log
                );
                return (line, Verdict::Unknown);
            }
            // The log may have grown since; where the disk stands in it may not have changed.
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
