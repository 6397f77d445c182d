//! Small file systems, and files that are shown in the place of others.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::error::infrastructure;

/// A block of a small file system, in bytes.
const BLOCK: u64 = 4096;
/// What a small file system has until something is taken away: more than a run asks for.
const AMPLE: (u64, u64) = (5 << 30, 100_000);

fn mount(words: &[&str]) -> Result<()> {
    run("mount", words)
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(program).args(words).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("tried to start {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(infrastructure(format!("{program} {}: {}", words.join(" "), message.trim())))
}

/// A small file system in memory. It is unmounted when this is dropped.
pub struct Small {
    /// Where it is mounted.
    pub path: Utf8PathBuf,
}

impl Small {
    /// Mounts one with ample space.
    pub fn mounted(path: &Utf8Path) -> Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("tried to make {path}"))?;
        mount(&["-t", "tmpfs", "-o", &options(AMPLE), "tmpfs", path.as_str()])?;
        let small = Self { path: path.to_owned() };
        // A size of zero blocks would mean that there is no limit.
        std::fs::write(path.join("ballast"), "?")?;
        Ok(small)
    }

    /// Leaves so many blocks and files beside those that are in use.
    pub fn leave(&self, blocks: u64, inodes: u64) -> Result<()> {
        let stat = rustix::fs::statvfs(self.path.as_std_path())?;
        let (used, files) = (stat.f_blocks - stat.f_bfree, stat.f_files - stat.f_ffree);
        self.remount(&options(((used + blocks) * BLOCK, files + inodes)))
    }

    /// Gives ample space again.
    pub fn enlarge(&self) -> Result<()> {
        self.remount(&options(AMPLE))
    }

    /// Lets nobody write.
    pub fn forbid_writing(&self) -> Result<()> {
        self.remount("ro")
    }

    fn remount(&self, options: &str) -> Result<()> {
        mount(&["-o", &format!("remount,{options}"), self.path.as_str()])
    }
}

fn options((bytes, inodes): (u64, u64)) -> String {
    format!("size={bytes},nr_inodes={inodes}")
}

impl Drop for Small {
    fn drop(&mut self) {
        // One that is in use goes with the name space.
        let _ = run("umount", &["--lazy", self.path.as_str()]);
    }
}

/// A file that is shown in the place of another. It is taken away when this is dropped.
pub struct Shown {
    place: Utf8PathBuf,
}

impl Shown {
    /// Shows `file` at `place`.
    pub fn instead_of(place: &Utf8Path, file: &Utf8Path) -> Result<Self> {
        mount(&["--bind", file.as_str(), place.as_str()])?;
        Ok(Self { place: place.to_owned() })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // It goes with the name space at the latest.
        let _ = run("umount", &[self.place.as_str()]);
    }
}
