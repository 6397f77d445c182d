//! Mutants that behave like the original, so that no check can catch them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde::Deserialize;

/// Where they are listed, from the workspace's root.
pub const FILE: &str = "conformance/equivalent_mutants.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mutant: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// As cargo-mutants names it, without line and column, which move with every edit.
    name: String,
    /// Why the mutated core behaves like the original.
    reason: String,
}

/// Names of equivalent mutants, with the reason for each.
pub struct Equivalent(BTreeMap<String, String>);

impl Equivalent {
    /// Reads the list.
    ///
    /// # Errors
    /// The file is missing or malformed, or a mutant has no reason.
    pub fn load(root: &Utf8Path) -> Result<Self> {
        let path = root.join(FILE);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        Self::parse(&text).with_context(|| format!("read {path}"))
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let mut reasons = BTreeMap::new();
        for row in file.mutant {
            anyhow::ensure!(!row.reason.trim().is_empty(), "mutant {} has no reason", row.name);
            reasons.insert(row.name, row.reason);
        }
        Ok(Self(reasons))
    }

    /// Why a mutant of this name cannot be caught; `None` if it must be.
    pub fn reason(&self, name: &str) -> Option<&str> {
        self.0.get(&without_position(name)).map(String::as_str)
    }
}

/// `src/a.rs:12:3: replace x with y` → `src/a.rs: replace x with y`.
pub fn without_position(name: &str) -> String {
    let Some((place, what)) = name.split_once(": ") else { return name.to_owned() };
    let file = place.split(':').next().unwrap_or(place);
    format!("{file}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_is_found_wherever_its_line_has_moved() {
        let list =
            "[[mutant]]\nname = \"src/a.rs: replace > with >=\"\nreason = \"both sides are never equal\"";
        let list = Equivalent::parse(list).expect("a list");
        assert_eq!(list.reason("src/a.rs:12:3: replace > with >="), Some("both sides are never equal"));
        assert_eq!(list.reason("src/b.rs:12:3: replace > with >="), None);
    }

    #[test]
    fn a_mutant_without_a_reason_is_refused() {
        assert!(Equivalent::parse("[[mutant]]\nname = \"src/a.rs: x\"\nreason = \" \"").is_err());
    }
}
