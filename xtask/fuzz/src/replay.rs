//! Runs a fuzz target with its committed inputs, as an ordinary test that needs no fuzzer. The
//! crates that have fuzz targets include this file.

use std::path::Path;

/// Runs `run` with each input in `fuzz/corpus/TARGET` of the crate.
///
/// # Panics
/// A property does not hold for an input, or there are none.
pub fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let read = |path| std::fs::read(path).expect("a readable input");
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let inputs: Vec<_> = entries.map(|entry| read(entry.expect("an input").path())).collect();
    assert!(inputs.len() > 2, "{} holds no inputs", folder.display());
    inputs.iter().for_each(|input| run(input));
}
