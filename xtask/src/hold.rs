//! Programs that end with this one.
//!
//! `xtask hold PID PROGRAM …` asks the kernel for a signal at the end of its parent and then
//! becomes the program, which keeps that request. Only so can it be made without `unsafe`: between
//! fork and exec, Rust runs nothing else.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use crate::error::infrastructure;

/// The name of the command, which is for this program itself.
pub const HOLD: &str = "hold";

/// A command that gets a SIGTERM when this process ends. The caller's thread must outlive it: the
/// kernel counts the end of the thread that started it.
pub fn held(program: impl AsRef<OsStr>) -> Command {
    if cfg!(test) {
        // A test's own program has no command `hold`.
        return Command::new(program);
    }
    // Still this program after a build has replaced its file.
    let mut command = Command::new("/proc/self/exe");
    command.args([HOLD, &getpid().as_raw_nonzero().to_string()]).arg(program);
    command
}

/// Becomes a program that ends with its parent, which has this process id.
pub fn command(parent: i32, words: &[OsString]) -> Result<u8> {
    let (program, arguments) = words.split_first().context("no program to hold")?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        return Err(infrastructure("The process that started this one has ended."));
    }
    // Returns only if it fails.
    let error = Command::new(program).args(arguments).exec();
    Err(infrastructure(format!("Tried to start {} and it failed: {error}", program.display())))
}
