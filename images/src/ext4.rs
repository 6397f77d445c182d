//! Writes ext4 file systems from trees, with control over every inode, owner and time.
//!
//! `mkfs.ext4 -d` would copy owner and change time from the build machine; `debugfs` writes exactly
//! what its script says, in that order.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, absolute_utf8};

use crate::error::{AtPath, ImageError};
use crate::tools;
use crate::tree::{Node, Tree};

/// Features are listed explicitly, so that the bytes do not depend on a distribution's defaults.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// A file system to write.
pub(crate) struct Volume<'a> {
    pub(crate) label: &'a str,
    pub(crate) uuid: &'a str,
    pub(crate) bytes: u64,
    pub(crate) tree: &'a Tree,
}

/// Writes `volume` into the new file `target`; `work` is a directory for temporary files.
pub(crate) fn write(volume: &Volume<'_>, target: &Utf8Path, work: &Utf8Path) -> Result<(), ImageError> {
    let file = fs::File::create(target).at("cannot create", target)?;
    file.set_len(volume.bytes).at("cannot size", target)?;
    format(volume, target)?;
    populate(volume, target, work)?;
    tools::run(tools::command("e2fsck").args(["-fn", target.as_str()]))?;
    Ok(())
}

fn format(volume: &Volume<'_>, target: &Utf8Path) -> Result<(), ImageError> {
    let extended =
        format!("hash_seed={},root_owner=0:0,lazy_itable_init=0,assume_storage_prezeroed=1", volume.uuid);
    let mut mkfs = tools::command("mkfs.ext4");
    mkfs.args([
        "-q", "-F", "-b", "4096", "-I", "256", "-N", "4096", "-m", "0", "-J", "size=8", "-O", FEATURES,
    ]);
    mkfs.args(["-e", "remount-ro", "-L", volume.label, "-U", volume.uuid, "-E", &extended, target.as_str()]);
    tools::run(&mut mkfs).map(drop)
}

fn populate(volume: &Volume<'_>, target: &Utf8Path, work: &Utf8Path) -> Result<(), ImageError> {
    let staging = work.join(format!("staging-{}", volume.label));
    fs::create_dir_all(&staging).at("cannot create", &staging)?;
    let script = stage(volume.tree, &staging)?;
    let path = staging.join("script");
    fs::write(&path, script).at("cannot write", &path)?;
    let target = &absolute_utf8(target).at("cannot find", target)?;
    let mut debugfs = tools::command("debugfs");
    debugfs.args(["-w", "-f", "script", target.as_str()]).current_dir(&staging);
    let output = debugfs.output().at("cannot run debugfs on", target)?;
    let complaints = complaints(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() && complaints.is_empty() {
        return Ok(());
    }
    Err(ImageError::Command {
        command: "debugfs".into(),
        status: output.status.to_string(),
        output: complaints,
    })
}

/// `debugfs` exits with success even if commands failed; the errors are on standard error, after
/// the banner.
fn complaints(stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| !line.starts_with("debugfs 1."));
    lines.take(3).collect::<Vec<_>>().join(" | ")
}

/// Writes file contents to `staging` and returns the script that copies them into the file system.
/// The script names the files within `staging`, because the path of the folder may hold a blank.
fn stage(tree: &Tree, staging: &Utf8Path) -> Result<String, ImageError> {
    let mut script = String::new();
    for (index, (path, node)) in tree.iter().enumerate() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let _ = writeln!(script, "cd /{folder}");
        let _ = match node {
            Node::Dir { mode } => writeln!(script, "mkdir {name}\nsif {name} mode 04{mode:04o}"),
            Node::Link { target } => writeln!(script, "symlink {name} {target}"),
            Node::File { mode, bytes } => {
                stage_file(&staging.join(index.to_string()), *mode, bytes)?;
                writeln!(script, "write {index} {name}")
            }
        };
    }
    Ok(script)
}

fn stage_file(path: &Utf8Path, mode: u32, bytes: &[u8]) -> Result<(), ImageError> {
    fs::write(path, bytes).at("cannot write", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("cannot protect", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_is_not_an_error() {
        assert_eq!(complaints("debugfs 1.47.0 (5-Feb-2023)\n"), "");
        assert_eq!(complaints("debugfs 1.47.0 (5-Feb-2023)\nmkdir: no space\n"), "mkdir: no space");
    }
}
