//! Recovers an ext4 file system as a boot would.

use std::path::Path;
use std::process::Command;

use super::{CheckError, Damage, Part};

/// Lines of `e2fsck` that report no damage: what follows from a power loss, and its summary.
const HARMLESS: &[&str] = &[
    "recovering journal",
    "Clearing orphaned inode",
    "Truncating orphaned inode",
    // Space that the kernel could save.
    "could be narrower",
    "could be shorter",
    // The clock of the host that checks need not be that of the guest.
    "in the future",
    "hardware clock",
    // Printed when what it writes can be undone.
    "Overwriting existing filesystem",
    "e2undo ",
    " files (",
    ": clean, ",
];
/// Bits of its exit code that are the program's own failure and not the disk's: wrong usage,
/// cancelled, missing library.
const OWN_FAILURE: i32 = 16 | 32 | 128;

/// A file system after `e2fsck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What it found besides the traces of a power loss.
    pub damage: Option<Damage>,
}

/// Replays the journal of the file system in `image`, clears its orphaned inodes and checks it
/// completely. With `undo_file`, which must not exist, [`undo`] reverts what that changed.
///
/// # Errors
/// `e2fsck` does not run here.
pub fn recover(image: &Path, undo_file: Option<&Path>) -> Result<Recovery, CheckError> {
    let mut command = Command::new("e2fsck");
    command.env("LC_ALL", "C").args(["-f", "-p"]);
    if let Some(file) = undo_file {
        command.arg("-z").arg(file);
    }
    let (code, text) = run("e2fsck", command.arg(image))?;
    if code & OWN_FAILURE != 0 {
        return Err(CheckError::Tool { tool: "e2fsck", found: format!("exit code {code}: {text}") });
    }
    let odd: Vec<&str> = text.lines().map(str::trim).filter(|line| is_odd(line)).take(3).collect();
    let damage = match (code & !1, odd.is_empty()) {
        (0, true) => None,
        (0, false) => Some(odd.join("; ")),
        _ => Some(format!("e2fsck ends with {code}: {}", odd.join("; "))),
    };
    Ok(Recovery { damage: damage.map(|words| Damage::new(Part::FileSystem, words)) })
}

fn is_odd(line: &str) -> bool {
    !line.is_empty() && !HARMLESS.iter().any(|harmless| line.contains(harmless)) && !is_banner(line)
}

/// `e2fsck 1.47.0 (5-Feb-2023)`
fn is_banner(line: &str) -> bool {
    line.starts_with("e2fsck 1.")
}

/// Reverts what [`recover`] changed.
///
/// # Errors
/// `e2undo` does not run here, or refused the undo file.
pub fn undo(image: &Path, undo_file: &Path) -> Result<(), CheckError> {
    if !undo_file.exists() {
        return Ok(());
    }
    let (code, text) = run("e2undo", Command::new("e2undo").arg(undo_file).arg(image))?;
    if code != 0 {
        return Err(CheckError::Tool { tool: "e2undo", found: format!("exit code {code}: {text}") });
    }
    std::fs::remove_file(undo_file).map_err(super::on(undo_file))
}

/// The exit code of a program and all that it printed.
fn run(tool: &'static str, command: &mut Command) -> Result<(i32, String), CheckError> {
    let output = command.output().map_err(|error| CheckError::Tool { tool, found: error.to_string() })?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    match output.status.code() {
        Some(code) => Ok((code, text)),
        None => Err(CheckError::Tool { tool, found: format!("{}: {text}", output.status) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_of_a_power_loss_are_no_damage_and_anything_else_is() {
        let harmless = [
            "rt-root: recovering journal",
            "rt-data: Clearing orphaned inode 15 (uid=0, gid=0, mode=0100644, size=0)",
            "rt-root: Inode 382 extent tree (at level 1) could be narrower.  IGNORED.",
            "rt-data: 12/4096 files (8.3% non-contiguous), 2362/32768 blocks",
            "e2fsck 1.47.0 (5-Feb-2023)",
            "",
        ];
        assert!(harmless.iter().all(|line| !is_odd(line)));
        for odd in [
            "rt-data: Inode 12, i_blocks is 8, should be 16.  FIXED.",
            "rt-data: Block bitmap differences:  -9000",
            "rt-data: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.",
        ] {
            assert!(is_odd(odd), "{odd}");
        }
    }
}
