//! The programs that the build runs.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::ImageError;

/// Programs that the build needs on the host, with their Debian packages. Everything inside the
/// image comes from downloaded packages.
pub const HOST_TOOLS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("sfdisk", "fdisk"),
    ("mkfs.vfat", "dosfstools"),
    ("mkfs.ext4", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("syslinux", "syslinux"),
    ("mcopy", "mtools"),
    ("xz", "xz-utils"),
];

/// The timestamp of everything in the image, in seconds since the Unix epoch.
pub(crate) const BUILD_TIME: u64 = 1_700_000_000;

/// Directories of system administration programs, which are often not in an ordinary user's PATH.
const ADMIN_DIRS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// The programs in [`HOST_TOOLS`] that are not on this host.
#[must_use]
pub fn missing_tools() -> Vec<(&'static str, &'static str)> {
    let path = search_path();
    let present = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    HOST_TOOLS.iter().copied().filter(|(name, _)| !present(name)).collect()
}

/// Fails if a program is missing.
pub(crate) fn require() -> Result<(), ImageError> {
    match missing_tools().first() {
        None => Ok(()),
        Some((name, package)) => {
            Err(ImageError::MissingTool { name: (*name).to_owned(), package: (*package).to_owned() })
        }
    }
}

/// A command whose output does not depend on the clock, the locale or the user's configuration.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env("PATH", search_path())
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("SOURCE_DATE_EPOCH", BUILD_TIME.to_string())
        .env("E2FSPROGS_FAKE_TIME", BUILD_TIME.to_string())
        .env("MKE2FS_CONFIG", "/dev/null")
        .stdin(Stdio::null());
    command
}

/// Runs a command and returns its standard output.
pub(crate) fn run(command: &mut Command) -> Result<String, ImageError> {
    let line = format!("{command:?}");
    let fail = |status: String, output: String| ImageError::Command {
        command: line.clone(),
        status,
        output: tail(&output),
    };
    let output = command.output().map_err(|e| fail("not started".into(), e.to_string()))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        return Err(fail(output.status.to_string(), String::from_utf8_lossy(&said).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Versions of the tools, since another version may write other bytes.
pub(crate) fn versions() -> Vec<String> {
    let first_line = |program: &str, argument: &str| {
        let output = command(program).arg(argument).output().ok()?;
        let said = [output.stderr, output.stdout].concat();
        let line = String::from_utf8_lossy(&said).lines().next()?.trim().to_owned();
        Some(format!("{program}: {line}"))
    };
    [("mkfs.ext4", "-V"), ("syslinux", "--version"), ("sfdisk", "--version"), ("mcopy", "--version")]
        .iter()
        .filter_map(|(program, argument)| first_line(program, argument))
        .collect()
}

fn search_path() -> String {
    let user = std::env::var("PATH").unwrap_or_default();
    if user.is_empty() { format!("{ADMIN_DIRS}:/usr/bin:/bin") } else { format!("{user}:{ADMIN_DIRS}") }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_reported_with_the_end_of_its_output() {
        let error = run(command("sh").args(["-c", "echo first; echo last >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("last") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_command_is_an_error() {
        assert!(run(&mut command("roundtrip-has-no-such-tool")).is_err());
    }
}
