//! One mutant of the built-in core's source.

use camino::Utf8PathBuf;
use serde::Deserialize;

/// A mutant as cargo-mutants lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// The place and the change.
    pub name: String,
    /// The source file, from the workspace's root.
    pub file: Utf8PathBuf,
    /// The change as a diff.
    pub diff: String,
}

impl Mutant {
    /// The first source line that it changes.
    pub fn line(&self) -> Option<&str> {
        self.diff.lines().skip(2).find_map(|line| line.strip_prefix('-')).map(str::trim)
    }
}
