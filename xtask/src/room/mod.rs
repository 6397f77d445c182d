//! A name space of mounts for a campaign: nobody else sees what is mounted in it, and it ends with
//! the campaign.

pub mod mounts;
pub mod own_libvirt;

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::getppid;

use crate::hold::held;

/// Tells this program that it runs in a name space of mounts.
pub const INSIDE: &str = "--inside";
/// Why something that has to be mounted is not possible.
pub const NO_MOUNTS: &str = "this user may not mount anything";

/// The option by which a user other than root gets one. No daemon of the system runs in it.
pub const AS_USER: &str = "--user";
/// How root and other users get a name space of mounts.
const WAYS: [&[&str]; 2] = [
    &["--mount", "--propagation", "private"],
    &[AS_USER, "--map-current-user", "--keep-caps", "--mount", "--propagation", "private"],
];

/// The options of `unshare` for which this host gives this user a name space in which it may mount
/// something; nothing if there are none.
pub fn way() -> Option<&'static [&'static str]> {
    let works = |way: &&&[&str]| {
        let mut command = Command::new("unshare");
        command.args(**way).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    WAYS.iter().find(works).copied()
}

/// Runs this program again with its arguments, in a name space of mounts. Returns its exit code.
pub fn again(way: &[&str]) -> Result<u8> {
    let own = std::env::current_exe().context("find this program")?;
    let arguments = std::env::args().skip(1).chain([INSIDE.to_owned()]);
    let status = held("unshare").args(way).arg(own).args(arguments).status().context("start unshare")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.context("a signal ended the campaign")
}

/// Whether this process has a name space of mounts that the one that started it does not share.
fn is_inside() -> bool {
    let mounts = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let parent = getppid().map(|parent| parent.as_raw_nonzero().to_string());
    parent.and_then(|parent| mounts(&parent)).is_some_and(|theirs| Some(theirs) != mounts("self"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_space_of_its_own_no_process_is_inside() {
        assert!(!is_inside());
    }
}
