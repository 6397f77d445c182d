//! The pages that are generated from data and code.

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use crate::rules::page;
use crate::{core_under_test, regressions, report};

/// Writes them into the repository at `root`, or repeats the experiments behind one of them.
///
/// # Errors
/// A page cannot be made or written.
pub fn write(root: &Utf8Path, experiments: bool) -> Result<u8> {
    if experiments {
        let (name, text) = regressions::figures_again(|what| println!("Measuring: {what} …"))?;
        std::fs::write(root.join(name), text).with_context(|| format!("write {name}"))?;
        println!("Wrote {name}. It is compiled in: `cargo xtask docs` writes the page.");
        return Ok(0);
    }
    let rules = page::render(root.as_std_path())?;
    let openrpc = format!("{:#}\n", wire::openrpc::document());
    let fixed = [
        ("docs/rules.md", rules),
        ("docs/states.md", core_under_test::state_diagrams()),
        ("docs/protocol.md", wire::page::page()),
        ("docs/results.schema.json", report::schema_page()),
        ("adapters/wire/openrpc.json", openrpc),
    ];
    for (name, text) in fixed.into_iter().chain(regressions::pages()?) {
        let path = root.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {path}"))?;
        println!("Wrote {path}.");
    }
    Ok(0)
}
