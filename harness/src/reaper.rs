//! Removes what runs that ended left behind, and nothing else.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::host::{self, Host};
use crate::machine::NAMESPACE;
use crate::scratch::{self, Owner};
use crate::{Error, Result};

/// Name of the file that protects a scratch directory and its domains until `clean` is run.
const KEPT: &str = "kept";

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Domains.
    pub domains: Vec<String>,
    /// Processes, by id.
    pub processes: Vec<i32>,
    /// Scratch directories, and the bytes that each took on the disk.
    pub directories: Vec<(Utf8PathBuf, u64)>,
}

impl Reaped {
    /// Whether there was nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Marks a scratch directory as kept, so that its domains survive their owner.
///
/// # Errors
/// The directory is not writable.
pub fn keep(dir: &Utf8Path) -> Result<()> {
    let path = dir.join(KEPT);
    std::fs::write(&path, "").map_err(Error::file(&path))
}

/// Removes domains, storage daemons and directories whose owner has ended; with `kept_too` also
/// those that were kept on purpose.
///
/// # Errors
/// libvirt does not answer, or refuses to remove a domain of ours.
pub async fn reap(host: &Host, kept_too: bool) -> Result<Reaped> {
    let mut reaped = Reaped::default();
    for (domain, xml) in host.domains().await? {
        let Some((owner, dir)) = owner_in(&xml) else { continue };
        if owner.is_alive()? || (is_kept(&dir) && !kept_too) {
            continue;
        }
        let name = domain.name().unwrap_or_default();
        host::remove(domain).await?;
        // The owner would have moved the log into its evidence.
        let _ = std::fs::remove_file(host.domain_log(&name));
        reaped.domains.push(name);
    }
    reap_directories(kept_too, &mut reaped)?;
    Ok(reaped)
}

fn reap_directories(kept_too: bool, reaped: &mut Reaped) -> Result<()> {
    let root = scratch::root();
    let entries = match root.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file(&root)(error)),
    };
    for dir in entries.filter_map(Result::ok).map(|entry| entry.path().to_owned()) {
        let Some(owner) = scratch::mark_in(&dir) else {
            // Without a mark it is being created at this moment, or was left half created.
            if scratch::is_unfinished(&dir) {
                std::fs::remove_dir_all(&dir).map_err(Error::file(&dir))?;
                reaped.directories.push((dir, 0));
            }
            continue;
        };
        if owner.is_alive()? || (is_kept(&dir) && !kept_too) {
            continue;
        }
        end_daemons(&dir, reaped);
        let bytes = bytes_on_disk(&dir);
        std::fs::remove_dir_all(&dir).map_err(Error::file(&dir))?;
        reaped.directories.push((dir, bytes));
    }
    // Fails while directories of others are in it, which is intended.
    let _ = std::fs::remove_dir(&root);
    Ok(())
}

/// Bytes on the disk below a directory. Disks have holes, so the lengths of files would mislead.
#[must_use]
pub fn bytes_on_disk(dir: &Utf8Path) -> u64 {
    let Ok(entries) = dir.read_dir_utf8() else { return 0 };
    let of_entry = |entry: camino::Utf8DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_on_disk(entry.path()),
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of_entry).sum()
}

fn is_kept(dir: &Utf8Path) -> bool {
    dir.join(KEPT).exists()
}

/// Ends the storage daemons whose pid files lie in `dir`, if the process still is such a daemon.
fn end_daemons(dir: &Utf8Path, reaped: &mut Reaped) {
    let Ok(entries) = dir.read_dir_utf8() else { return };
    let pid_files = entries.filter_map(Result::ok).filter(|e| e.path().extension() == Some("pid"));
    for entry in pid_files {
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let Ok(pid) = text.trim().parse::<i32>() else { continue };
        if end_process_of(pid, dir) {
            reaped.processes.push(pid);
        }
    }
}

/// Kills the process of this id if its command line names `dir`: process ids are reused, and no
/// other process is ours. Returns whether it was killed.
fn end_process_of(pid: i32, dir: &Utf8Path) -> bool {
    let Some(id) = Pid::from_raw(pid) else { return false };
    // The handle stays with one process. If that ends and its id is reused, the kill fails.
    let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return false };
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&command).contains(dir.as_str())
        && pidfd_send_signal(&process, Signal::KILL).is_ok()
}

/// The owner's mark and the scratch directory in a domain's XML; `None` if the domain is not ours.
fn owner_in(xml: &str) -> Option<(Owner, Utf8PathBuf)> {
    if !xml.contains(NAMESPACE) {
        return None;
    }
    let element = xml.split('<').find(|part| part.starts_with("rt:owner "))?;
    let value = |name: &str| {
        let rest = element.split_once(&format!(" {name}="))?.1;
        let quote = rest.chars().next()?;
        rest[1..].split_once(quote).map(|(value, _)| value.to_owned())
    };
    let owner = Owner { run: value("run")?, pid: value("pid")?.parse().ok()?, started: value("started")? };
    Some((owner, Utf8PathBuf::from(value("scratch")?)))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_a_process_that_names_the_directory_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let started = |word: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "echo; read line", word]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = shell.spawn().unwrap();
            // Before its program runs, a process has no arguments yet.
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            child
        };
        let mut ours = started(dir.join("control").as_str());
        let mut foreign = started("/elsewhere");
        for (name, child) in [("ours.pid", &ours), ("foreign.pid", &foreign)] {
            std::fs::write(dir.join(name), child.id().to_string()).unwrap();
        }
        std::fs::write(dir.join("ended.pid"), i32::MAX.to_string()).unwrap();
        let mut reaped = Reaped::default();
        end_daemons(dir, &mut reaped);
        assert_eq!(reaped.processes, [i32::try_from(ours.id()).unwrap()]);
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        drop(foreign.stdin.take());
        assert_eq!(foreign.wait().unwrap().signal(), None, "it ended by itself");
    }

    #[test]
    fn only_domains_that_carry_the_mark_are_ours() {
        let ours = format!(
            "<domain><metadata>\n<rt:owner xmlns:rt=\"{NAMESPACE}\" run=\"r1\" pid=\"42\" \
             started=\"b:7\" scratch=\"/tmp/x\"/></metadata></domain>"
        );
        let (owner, dir) = owner_in(&ours).unwrap();
        assert_eq!((owner.run.as_str(), owner.pid, owner.started.as_str()), ("r1", 42, "b:7"));
        assert_eq!(dir, "/tmp/x");
        for foreign in ["<domain/>", "<rt:owner run='r' pid='1' started='s' scratch='/'/>", NAMESPACE] {
            assert!(owner_in(foreign).is_none(), "{foreign}");
        }
    }
}
