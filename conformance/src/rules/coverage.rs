//! Which rules of the catalogue a run judged, and which checks judge a rule at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{RuleId, catalogue};
use crate::mutants::{Mutant, mutants};
use crate::outcome::{NotJudged, RuleOutcome};
use crate::scenario::Tier;
use crate::sim;

/// The rules of the catalogue that are not among these outcomes.
#[must_use]
pub fn not_judged(judged: &[RuleOutcome]) -> Vec<NotJudged> {
    let judged: BTreeSet<_> = judged.iter().map(|rule| rule.id).collect();
    let left = catalogue().iter().filter(|rule| !judged.contains(&rule.id));
    left.map(|rule| NotJudged { id: rule.id, title: rule.title.clone(), unchecked: rule.unchecked.clone() })
        .collect()
}

/// A check of the simulated tier that judges a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimCheck {
    /// What the check shows.
    pub name: &'static str,
    /// Its source file, relative to the repository.
    pub file: String,
}

/// Everything that judges a rule or shows that it can be broken.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Checks of the simulated tier.
    pub sim: Vec<SimCheck>,
    /// Source files of the real tier that judge the rule, relative to the repository.
    pub real: Vec<String>,
    /// Mutants that break the rule.
    pub mutants: Vec<&'static Mutant>,
}

impl Coverage {
    /// Whether a check of any tier judges the rule.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        !self.sim.is_empty() || !self.real.is_empty()
    }
}

/// Finds what judges each rule: checks in memory by what they promise, everything else by the
/// constants of rules in the suite's sources. `root` is the repository. Reading the sources keeps
/// the list from going stale.
///
/// # Errors
/// The sources cannot be read.
pub fn coverage(root: &Path) -> Result<BTreeMap<RuleId, Coverage>> {
    let sources = sources(root)?;
    let mut coverage: BTreeMap<RuleId, Coverage> = BTreeMap::new();
    for rule in catalogue() {
        let constant = rule.id.constant();
        let real = sources.iter().filter(|source| source.tier == Tier::Real && source.names(&constant));
        let entry = coverage.entry(rule.id).or_default();
        entry.real = real.map(|source| source.path.clone()).collect();
        entry.mutants = mutants().filter(|mutant| mutant.breaks.contains(&rule.id)).collect();
    }
    for check in sim::checks() {
        let source = sources.iter().find(|source| source.text.contains(&format!("\"{}\"", check.name)));
        let file = source.map(|source| source.path.clone()).unwrap_or_default();
        for rule in check.rules {
            let entry = coverage.entry(*rule).or_default();
            entry.sim.push(SimCheck { name: check.name, file: file.clone() });
        }
    }
    // The seeded cycles judge rules without being a list of checks.
    for source in sources.iter().filter(|source| source.path.ends_with("/seeded_cycles.rs")) {
        for rule in catalogue().iter().filter(|rule| source.names(&rule.id.constant())) {
            let entry = coverage.entry(rule.id).or_default();
            entry.sim.push(SimCheck { name: "seeded cycles", file: source.path.clone() });
        }
    }
    Ok(coverage)
}

/// A source file of the suite, without its unit tests.
struct SourceFile {
    path: String,
    tier: Tier,
    text: String,
}

impl SourceFile {
    /// Whether the file uses a constant.
    fn names(&self, constant: &str) -> bool {
        self.text.match_indices(constant).any(|(at, _)| {
            let part_of_a_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let before = self.text[..at].chars().next_back();
            let after = self.text[at + constant.len()..].chars().next();
            !part_of_a_word(before) && !part_of_a_word(after)
        })
    }
}

/// The source files that judge rules: those of both tiers and the modules that they share. The
/// catalogue, the mutants and the reports only name rules.
fn sources(root: &Path) -> Result<Vec<SourceFile>> {
    let src = root.join("conformance/src");
    let mut files = Vec::new();
    for (dir, tier) in [("real", Tier::Real), ("sim", Tier::Sim)] {
        collect(&src.join(dir), &mut |path| files.push((path, tier)))?;
    }
    for entry in entries(&src)? {
        if entry.is_file() {
            files.push((entry, Tier::Real));
        }
    }
    let mut sources = Vec::new();
    for (path, tier) in files {
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        sources.push(SourceFile { path, tier, text });
    }
    Ok(sources)
}

fn collect(dir: &Path, found: &mut impl FnMut(PathBuf)) -> Result<()> {
    for entry in entries(dir)? {
        if entry.is_dir() {
            collect(&entry, found)?;
        } else {
            found(entry);
        }
    }
    Ok(())
}

/// What a directory holds, in order.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut entries = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::super::ids::FO_04;
    use super::*;
    use crate::outcome::Verdict;

    fn repository() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    #[test]
    fn every_rule_has_a_check_or_a_reason_why_not_and_never_both() {
        let coverage = coverage(repository()).expect("the sources are readable");
        for rule in catalogue() {
            let checked = coverage[&rule.id].is_checked();
            assert_eq!(checked, rule.unchecked.is_empty(), "{}", rule.id);
        }
    }

    #[test]
    fn every_check_in_memory_has_a_source_file() {
        let coverage = coverage(repository()).expect("the sources are readable");
        for check in coverage.values().flat_map(|coverage| &coverage.sim) {
            assert!(check.file.starts_with("conformance/src/sim/"), "{}: {}", check.name, check.file);
        }
    }

    #[test]
    fn only_whole_words_are_constants() {
        let names = |text: &str| {
            SourceFile { path: String::new(), tier: Tier::Real, text: text.to_owned() }.names("FO_04")
        };
        assert!(names("check(FO_04, true)") && names("FO_04") && !names("FO_040") && !names("XFO_04"));
    }

    #[test]
    fn what_a_run_did_not_judge_is_listed_with_the_reason_if_nothing_can() {
        let judged = [RuleOutcome::new(FO_04, Tier::Sim, Verdict::Pass, "")];
        let left = not_judged(&judged);
        assert_eq!(left.len(), catalogue().len() - 1);
        assert_eq!(left.iter().filter(|rule| !rule.unchecked.is_empty()).count(), 12);
    }
}
