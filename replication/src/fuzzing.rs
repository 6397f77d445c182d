//! The fuzz target of this crate: the landing log. Compiled for tests, which run the committed
//! inputs, and for fuzzing.

use std::io::Write as _;

use crate::fault_hook::Extent;
use crate::landing_log::{Reader, Writer, path};

/// Runs the target: the input is a transfer as it may lie on the disk, and then extents that are
/// written and read back.
///
/// # Panics
/// A property does not hold.
pub fn run(input: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(input).expect("a temporary file");
    if let Ok(extents) = read(file.path()) {
        let sum: usize = extents.iter().map(|extent| extent.data.len()).sum();
        assert!(sum < input.len(), "{} bytes hold {sum} bytes of content", input.len());
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut writer = Writer::create(dir.path(), 1).expect("a new transfer");
    let mut written = Vec::new();
    for piece in input.chunks(37) {
        let (disk, offset) = (usize::from(piece[0]), u64::from(piece[piece.len() / 2]) << (piece[0] % 57));
        writer.push(disk, offset, piece).expect("an extent");
        written.push(Extent { disk, offset, data: piece.to_vec() });
    }
    assert_eq!(writer.seal().expect("a transfer"), input.len() as u64);
    assert_eq!(read(&path(dir.path(), 1)).expect("what was written is read"), written);
}

fn read(path: &std::path::Path) -> Result<Vec<Extent>, contract::CoreError> {
    let mut reader = Reader::open(path)?;
    let mut extents = Vec::new();
    while let Some(extent) = reader.next()? {
        extents.push(extent);
    }
    Ok(extents)
}

#[cfg(test)]
#[path = "../../xtask/fuzz/src/replay.rs"]
mod replay;

#[test]
fn the_committed_inputs_are_survived() {
    replay::replay("landing_log", run);
}
