//! Judges stored evidence again, without a guest.
//!
//! The oracle reads the same files again, and everything that the result says is compared with what
//! it finds: each disk, all disks of an edge together, the losses, the edges, the rules and the
//! verdict. What cannot be found again from files, such as what a witness reported, is compared
//! with the rest of the result, which is sealed by a digest.

mod edge;
pub(crate) mod files;
#[cfg(test)]
mod packed_tests;
mod recorded;
pub(crate) mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::Result;
use camino::Utf8Path;

use crate::outcome::{EdgeOutcome, ScenarioOutcome, Verdict};
use crate::real;
use crate::scenario::{self, Scenario, Tier};
use files::Files;
use stored::{Ended, Stored};

/// The result of judging evidence again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recheck {
    /// What was compared, and what differs.
    pub lines: Vec<String>,
    /// `pass` only if every stored verdict is a pass and was found again. `fail` if a stored or a
    /// repeated verdict is a failure. Otherwise something is missing, or differs.
    pub verdict: Verdict,
}

impl Recheck {
    pub(crate) fn note(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Objects if no disk was judged again.
    pub(crate) fn require(&mut self, judged: usize) {
        if judged == 0 {
            let nothing = "no disk was judged again: nothing was compared, and that is not a pass";
            self.object(Verdict::Unknown, nothing.to_owned());
        }
    }

    pub(crate) fn object(&mut self, verdict: Verdict, line: String) {
        self.verdict = self.verdict.and(verdict);
        self.lines.push(line);
    }
}

/// Judges the scenarios in `dir` again, the directory of a run or of one scenario.
///
/// # Errors
/// The directory holds no evidence, or it cannot be read.
pub async fn recheck(dir: &Utf8Path) -> Result<Recheck> {
    let (mut recheck, judged) = judge_again(dir).await?;
    recheck.require(judged);
    Ok(recheck)
}

/// Judges the scenarios in `dir` again. Also returns how many disks that were.
pub(crate) async fn judge_again(dir: &Utf8Path) -> Result<(Recheck, usize)> {
    let table = scenarios()?;
    let stored = stored::find(dir)?;
    let mut recheck = Recheck { lines: Vec::new(), verdict: Verdict::Pass };
    let mut judged = 0;
    for stored in &stored {
        match stored {
            Stored::Unfinished { name, why } => recheck.object(Verdict::Unknown, format!("{name}: {why}")),
            Stored::Superseded { name } => {
                recheck.note(format!("{name}: an earlier attempt, which a later one replaced"));
            }
            Stored::Ended(ended) => {
                judged += judge_scenario(&mut recheck, &table, ended).await;
            }
        }
    }
    Ok((recheck, judged))
}

/// Every scenario of both tiers.
fn scenarios() -> Result<Vec<Scenario>> {
    let simulated = scenario::all()?.into_iter().filter(|row| row.tier == Tier::Sim);
    Ok(simulated.chain(real::scenarios()?).collect())
}

/// Judges one scenario again. Returns the number of disks that were judged.
async fn judge_scenario(recheck: &mut Recheck, table: &[Scenario], ended: &Ended) -> usize {
    let Ended { dir, outcome, altered } = ended;
    let name = &outcome.name;
    if let Some(why) = altered {
        recheck.object(Verdict::Unknown, format!("{name}: {why}"));
    }
    for (verdict, line) in recorded::objections(outcome) {
        recheck.object(verdict, format!("{name}: {line}"));
    }
    let Some(row) = table.iter().find(|row| row.name == *name) else {
        recheck.object(Verdict::Unknown, format!("{name}: the suite has no scenario of this name"));
        return 0;
    };
    if row.tier == Tier::Sim {
        recheck.note(format!("{name}: simulated, so it stores no disks to judge again; {}", ending(outcome)));
        return 0;
    }
    let promises = recorded::objections_to_promises(row, outcome).into_iter();
    for (verdict, line) in promises.chain(recorded::objections_to_edges(row, outcome)) {
        recheck.object(verdict, format!("{name}: {line}"));
    }
    if outcome.edges.is_empty() {
        recheck.note(format!("{name}: it stores no disks to judge again; {}", ending(outcome)));
    }
    let files = match Files::of_scenario(dir) {
        Ok(files) => files,
        Err(error) => {
            recheck.object(Verdict::Unknown, format!("{name}: {error:#}"));
            return 0;
        }
    };
    for damage in files.damages() {
        recheck.object(Verdict::Unknown, format!("{name}: {damage}"));
    }
    let mut judged = 0;
    for (edge, title) in outcome.edges.iter().zip(titles(&outcome.edges)) {
        if edge.verdict == Verdict::Skipped && edge.disks.is_empty() {
            note_skipped(recheck, outcome, edge, &format!("{name} {title}"));
            continue;
        }
        for (verdict, line) in edge::judge_again(&files, edge).await {
            judged += usize::from(verdict == Verdict::Pass);
            recheck.object(verdict, format!("{name} {title}{line}"));
        }
    }
    judged
}

/// Notes an edge that was skipped, which is no pass of a scenario that was not.
fn note_skipped(recheck: &mut Recheck, outcome: &ScenarioOutcome, edge: &EdgeOutcome, title: &str) {
    if outcome.verdict == Verdict::Skipped {
        recheck.note(format!("{title}: skipped, so it stores nothing to judge again: {}", edge.why));
    } else {
        let line = format!("{title}: recorded as skipped, and its scenario is not");
        recheck.object(Verdict::Unknown, line);
    }
}

/// What lines call each edge: its name, with a number if several cycles have an edge of that name.
fn titles(edges: &[EdgeOutcome]) -> impl Iterator<Item = String> {
    let mut all = BTreeMap::new();
    for edge in edges {
        *all.entry(&edge.name).or_insert(0) += 1;
    }
    let mut before = BTreeMap::new();
    edges.iter().map(move |edge| {
        let number = before.entry(&edge.name).or_insert(0);
        *number += 1;
        match all[&edge.name] {
            1 => edge.name.clone(),
            of => format!("{} ({number} of {of})", edge.name),
        }
    })
}

fn ending(outcome: &ScenarioOutcome) -> String {
    format!("its recorded verdict is {}", recorded::word(outcome.verdict))
}
