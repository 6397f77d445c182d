//! The command `diagrams`: generated pages of documentation.

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::suite::Suite;

/// Draws the core's state machines into `docs/states.md`.
pub fn diagrams(root: &Utf8Path) -> Result<()> {
    let suite = Suite::on_ready_machine(root)?;
    let output = suite.command(&["diagrams"]).output().context("tried to run the suite's binary")?;
    let path = root.join("docs/states.md");
    std::fs::write(&path, output.stdout).with_context(|| format!("tried to write {path}"))?;
    println!("Wrote {path}.");
    Ok(())
}
