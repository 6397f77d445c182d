//! The files of a run and their digests.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileDigest {
    /// Relative to the directory of the run.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, as `sha256sum` prints it. For a symbolic link, that of the path to which it
    /// points.
    pub sha256: String,
}

/// The digest of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file below the directory of a run but the `excepted` ones, by path.
///
/// # Errors
/// A file cannot be read, or is neither a file, a link nor a directory.
pub(super) fn files_of(run: &Utf8Path, excepted: &[&Utf8Path]) -> Result<Vec<FileDigest>> {
    let mut files = Vec::new();
    add(run, run, excepted, &mut files)?;
    files.sort();
    Ok(files)
}

fn add(run: &Utf8Path, dir: &Utf8Path, excepted: &[&Utf8Path], files: &mut Vec<FileDigest>) -> Result<()> {
    for entry in dir.read_dir_utf8().with_context(|| format!("read {dir}"))? {
        let entry = entry.with_context(|| format!("read {dir}"))?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if excepted.contains(&path) {
            continue;
        }
        let (bytes, sha256) = if kind.is_dir() {
            add(run, path, excepted, files)?;
            continue;
        } else if kind.is_file() {
            digest_of(path).with_context(|| format!("read {path}"))?
        } else if kind.is_symlink() {
            let target = path.read_link_utf8().with_context(|| format!("read {path}"))?;
            (target.as_str().len() as u64, sha256(target.as_str().as_bytes()))
        } else {
            bail!("{path} is neither a file nor a directory: remove it");
        };
        let path = path.strip_prefix(run).unwrap_or(path).to_string();
        files.push(FileDigest { path, bytes, sha256 });
    }
    Ok(())
}

fn digest_of(path: &Utf8Path) -> std::io::Result<(u64, String)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((bytes, hex(&hasher.finalize()))),
            read => {
                hasher.update(&chunk[..read]);
                bytes += read as u64;
            }
        }
    }
}
