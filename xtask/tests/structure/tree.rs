//! The files of this repository.

use std::path::{Path, PathBuf};

/// Folders that hold nothing of the project's own.
const FOREIGN: [&str; 3] = ["target", ".git", "roundtrip-runs"];

/// The repository.
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
    root.to_owned()
}

/// Every file below a folder of the repository whose name ends so, relative to the repository and sorted.
pub fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let root = root();
    let mut found = Vec::new();
    let mut due = vec![root.join(folder)];
    while let Some(dir) = due.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder of the repository").flatten() {
            let path = entry.path();
            let name = entry.file_name().into_string().expect("a UTF-8 name");
            if path.is_dir() {
                if !FOREIGN.contains(&name.as_str()) {
                    due.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path.strip_prefix(&root).expect("below the repository").to_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} holds no file that ends in {endings:?}");
    found
}

/// The text of a file of the repository.
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
