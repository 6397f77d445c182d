//! Files in a second place, without a second copy of their content where the file system allows.

use std::fs::FileType;

use anyhow::{Context as _, Result, ensure};
use camino::Utf8Path;

use crate::foreign_files;

/// Puts a file, or a directory with everything in it, into a second place. Sockets and the like are
/// left out: nobody listens there any more.
pub(super) fn link_tree(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    let kind = from.symlink_metadata().with_context(|| format!("read {from}"))?.file_type();
    if kind.is_dir() {
        // A link that comes from another shard could lead anywhere.
        ensure!(!to.is_symlink(), "{to}, which comes from another shard, is a symbolic link");
        std::fs::create_dir_all(to).with_context(|| format!("make {to}"))?;
        for entry in from.read_dir_utf8().with_context(|| format!("read {from}"))? {
            let entry = entry.with_context(|| format!("read {from}"))?;
            link_tree(entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if to.symlink_metadata().is_ok() {
        let same = same_content(from, to);
        ensure!(same.is_ok_and(|same| same), "{from} and {to}, which comes from another shard, differ");
        return Ok(());
    }
    place(kind, from, to).with_context(|| format!("put {from} at {to}"))
}

/// Whether both are regular files with the same content.
fn same_content(one: &Utf8Path, other: &Utf8Path) -> std::io::Result<bool> {
    Ok(foreign_files::read(one)? == foreign_files::read(other)?)
}

fn place(kind: FileType, from: &Utf8Path, to: &Utf8Path) -> std::io::Result<()> {
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(from.read_link_utf8()?, to);
    }
    if !kind.is_file() {
        return Ok(());
    }
    // A file on another file system cannot be linked.
    std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(|_| ()))
}
