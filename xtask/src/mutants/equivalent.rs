//! Mutants that behave like the original, so that no check can catch them.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use serde::Deserialize;

use super::mutant::Mutant;

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
    /// The first source line that it changes, because a function may have several mutants of one
    /// name.
    line: String,
    /// Why the mutated core behaves like the original.
    reason: String,
}

/// Equivalent mutants, with the reason for each.
pub struct Equivalent(Vec<Row>);

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
        for row in &file.mutant {
            anyhow::ensure!(!row.reason.trim().is_empty(), "mutant {} has no reason", row.name);
        }
        Ok(Self(file.mutant))
    }

    /// Why a mutant cannot be caught; `None` if it must be.
    pub fn reason(&self, mutant: &Mutant) -> Option<&str> {
        let name = without_position(&mutant.name);
        let same = |row: &&Row| row.name == name && Some(row.line.as_str()) == mutant.line();
        self.0.iter().find(same).map(|row| row.reason.as_str())
    }
}

/// `src/a.rs:12:3: replace x with y` → `src/a.rs: replace x with y`.
fn without_position(name: &str) -> String {
    let Some((place, what)) = name.split_once(": ") else { return name.to_owned() };
    let file = place.split(':').next().unwrap_or(place);
    format!("{file}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(name: &str, line: &str) -> Mutant {
        let diff =
            format!("--- a.rs\n+++ replace > with >=\n@@ -1,2 +1,2 @@\n fn f() {{\n-    {line}\n+    x\n");
        Mutant { name: name.to_owned(), file: "a.rs".into(), diff }
    }

    #[test]
    fn a_mutant_is_found_wherever_its_line_has_moved() {
        let list =
            "[[mutant]]\nname = \"src/a.rs: replace > with >=\"\nline = \"a > b\"\nreason = \"never equal\"";
        let list = Equivalent::parse(list).expect("a list");
        let reason = |name, line| list.reason(&mutant(name, line)).map(ToOwned::to_owned);
        assert_eq!(reason("src/a.rs:12:3: replace > with >=", "a > b").as_deref(), Some("never equal"));
        assert_eq!(reason("src/a.rs:12:3: replace > with >=", "c > d"), None);
        assert_eq!(reason("src/b.rs:12:3: replace > with >=", "a > b"), None);
    }

    #[test]
    fn a_mutant_without_a_reason_is_refused() {
        assert!(Equivalent::parse("[[mutant]]\nname = \"a.rs: x\"\nline = \"y\"\nreason = \" \"").is_err());
    }
}
