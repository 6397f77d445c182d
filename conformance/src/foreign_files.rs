//! Files of a run that somebody else may have made: an archive that was downloaded, or the
//! directory of a shard. What is read is a regular file of bounded size, and nothing is read or
//! written outside of the run's directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use rustix::fs::OFlags;

/// Most bytes of a file that is read as a whole. The largest results of a run have a few MiB.
pub(crate) const LARGEST: u64 = 64 << 20;

/// Reads a file as a whole.
///
/// # Errors
/// It cannot be read, is a link or no regular file, or is larger than [`LARGEST`].
pub(crate) fn read(path: &Utf8Path) -> io::Result<Vec<u8>> {
    read_at_most(path, LARGEST)
}

/// As [`read`], with another limit.
pub(crate) fn read_at_most(path: &Utf8Path, most: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer. A certificate has the digest of what a link says
    // and not of the file to which it leads.
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(_) if path.is_symlink() => return Err(refused("it is a symbolic link")),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is no regular file"));
    }
    if metadata.len() > most {
        return Err(refused(&format!("it has {} bytes; at most {most} are read", metadata.len())));
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file, in place of any that has its name. A link of that name is replaced, so that the
/// file to which it leads stays as it is.
///
/// # Errors
/// It cannot be written.
pub(crate) fn replace(path: &Utf8Path, content: &[u8]) -> io::Result<()> {
    let working = Utf8PathBuf::from(format!("{path}.writing"));
    match std::fs::remove_file(&working) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::create_new(&working)?.write_all(content)?;
    std::fs::rename(&working, path)
}

/// The path of a file that evidence names. The name must not lead out of `dir`.
///
/// # Errors
/// It is absolute or has `..` in it, or a part of it is a symbolic link.
pub(crate) fn inside(dir: &Utf8Path, name: &str) -> io::Result<Utf8PathBuf> {
    let mut path = dir.to_owned();
    for part in Utf8Path::new(name).components() {
        let Utf8Component::Normal(part) = part else {
            return Err(refused(&format!("the name {name:?} leads out of its directory")));
        };
        path.push(part);
        if path.is_symlink() {
            return Err(refused(&format!("{path} is a symbolic link")));
        }
    }
    if path == *dir {
        return Err(refused("a file has no name"));
    }
    Ok(path)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::write(dir.join("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", dir.join("link")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(dir.join("pipe")).status().unwrap();
        assert!(made.success());
        assert_eq!(read(&dir.join("file")).unwrap(), b"text");
        assert_eq!(read(&dir.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let huge = File::create(dir.join("huge")).unwrap();
        huge.set_len(1 << 40).unwrap();
        for (name, why) in [
            ("link", "a symbolic link"),
            ("pipe", "no regular file"),
            (".", "no regular file"),
            ("huge", "at most"),
        ] {
            let error = read(&dir.join(name)).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::write(dir.join("precious"), "old").unwrap();
        for name in ["report.html", "report.html.writing"] {
            std::os::unix::fs::symlink("precious", dir.join(name)).unwrap();
        }
        replace(&dir.join("report.html"), b"new").unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("precious")).unwrap(), "old");
        assert_eq!(read(&dir.join("report.html")).unwrap(), b"new");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::create_dir(dir.join("disks")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.join("etc")).unwrap();
        assert_eq!(inside(dir, "disks/system.raw").unwrap(), dir.join("disks/system.raw"));
        for name in ["", "..", "/etc/passwd", "disks/../../x", "etc/passwd", "etc"] {
            assert!(inside(dir, name).is_err(), "{name}");
        }
    }
}
