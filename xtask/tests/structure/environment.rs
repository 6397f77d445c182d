//! Every environment variable of the project is documented, and every documented one is read.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree;

const PREFIX: &str = "ROUNDTRIP_";
const TABLE: &str = "docs/environment.md";

/// The variables named in a text.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.match_indices(PREFIX)
        .map(|(at, _)| text[at..].split(|c| !is_part(c)).next().unwrap_or_default())
        .filter(|name| name.len() > PREFIX.len())
        .map(String::from)
        .collect()
}

/// The variables that have a row in the table: the first cell of a row names one.
fn documented() -> BTreeSet<String> {
    let text = tree::text(Path::new(TABLE));
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).flat_map(variables).collect()
}

#[test]
fn every_variable_of_the_sources_is_documented() {
    let known = documented();
    let mut missing = BTreeSet::new();
    for path in tree::files("", &[".rs", ".toml", ".yml", ".sh", ".md"]) {
        let unknown = variables(&tree::text(&path)).into_iter().filter(|name| !known.contains(name));
        missing.extend(unknown.map(|name| format!("{name} in {}", path.display())));
    }
    // This file's own examples.
    missing.retain(|line| !line.ends_with("tests/structure/environment.rs"));
    assert!(missing.is_empty(), "not in {TABLE}: {missing:#?}");
}

#[test]
fn every_documented_variable_is_in_the_sources() {
    let mut used = BTreeSet::new();
    for path in tree::files("", &[".rs"]).iter().filter(|path| !path.ends_with("structure/environment.rs")) {
        used.extend(variables(&tree::text(path)));
    }
    let unused: Vec<String> = documented().difference(&used).cloned().collect();
    assert!(unused.is_empty(), "in {TABLE} and nowhere else: {unused:?}");
}

#[test]
fn names_are_found_whatever_surrounds_them() {
    let found = variables("`ROUNDTRIP_A_1=x`, \"ROUNDTRIP_B\" and ROUNDTRIP_ alone");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["ROUNDTRIP_A_1", "ROUNDTRIP_B"]);
}
