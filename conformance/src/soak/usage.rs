//! What the processes of a scenario hold, by the kernel's own count.

use std::collections::BTreeMap;
use std::path::Path;

use camino::Utf8Path;
use lifetime::groups;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, getpid};
use serde::{Deserialize, Serialize};

/// The process that runs the scenario. The built-in core is a part of it.
pub(super) const SUITE: &str = "suite";
/// The processes of a core that is a program of its own.
const CORE: &str = "core";
/// The servers of the disks of machines that are off.
const STORAGE: &str = "storage daemons";
/// How the kernel begins the name of such a server. It cuts names off.
const STORAGE_NAME: &str = "qemu-storage";

/// What processes hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// How many processes these are.
    pub(super) processes: u64,
    /// Resident memory in bytes. What processes share counts for each of them.
    pub(super) resident: u64,
    /// Open file descriptors.
    pub(super) files: u64,
    pub(super) threads: u64,
    /// Processor time since they started, in milliseconds.
    #[serde(default)]
    pub(super) processor: u64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.processes += other.processes;
        self.resident += other.resident;
        self.files += other.files;
        self.threads += other.threads;
        self.processor += other.processor;
    }

    /// What a process holds; `None` if it has ended.
    fn of(pid: Pid) -> Option<Self> {
        let dir = format!("/proc/{}", pid.as_raw_nonzero());
        let (resident, threads) = parse_status(&std::fs::read_to_string(format!("{dir}/status")).ok()?)?;
        let processor = parse_processor_time(&std::fs::read_to_string(format!("{dir}/stat")).ok()?)?;
        let files = std::fs::read_dir(format!("{dir}/fd")).ok()?.count() as u64;
        // Looking at one's own descriptors takes one.
        let files = files - u64::from(pid == getpid());
        Some(Self { processes: 1, resident, files, threads, processor })
    }
}

/// Resident bytes and threads, from `/proc/PID/status`.
fn parse_status(status: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((field("VmRSS:")? * 1024, field("Threads:")?))
}

/// Milliseconds on a processor, of the process and of the kernel for it, from `/proc/PID/stat`.
fn parse_processor_time(stat: &str) -> Option<u64> {
    // The 14th and 15th field; the name, which is the second, may contain spaces.
    let (_, after) = stat.rsplit_once(')')?;
    let ticks = after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().ok());
    Some(ticks.sum::<Option<u64>>()? * 1_000 / clock_ticks_per_second())
}

/// What this process, the core that it started and its storage daemons hold now. Kinds of which
/// there is no process are left out.
pub(super) fn now() -> BTreeMap<String, Usage> {
    let this = getpid();
    let mut cores = groups::watched();
    // A suite that leads a group is itself among those that end with it.
    cores.retain(|group| *group != this);
    let mut all = BTreeMap::new();
    for (role, pid) in processes(this, &cores) {
        if let Some(usage) = Usage::of(pid) {
            all.entry(role.to_owned()).or_insert_with(Usage::default).add(usage);
        }
    }
    all
}

/// The processes of this scenario, each with what it is.
fn processes(this: Pid, cores: &[Pid]) -> Vec<(&'static str, Pid)> {
    let mut found = vec![(SUITE, this)];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((name, parent, group)) = parse_stat(&stat) else { continue };
        if Pid::from_raw(group).is_some_and(|group| cores.contains(&group)) {
            found.push((CORE, pid));
        } else if parent == this.as_raw_nonzero().get() && name.starts_with(STORAGE_NAME) {
            found.push((STORAGE, pid));
        }
    }
    found
}

/// The name, the parent and the process group, from `/proc/PID/stat`.
fn parse_stat(stat: &str) -> Option<(&str, i32, i32)> {
    // The name, in parentheses, may contain spaces and parentheses.
    let (before, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(1);
    let mut next = || fields.next()?.parse().ok();
    Some((before.split_once('(')?.1, next()?, next()?))
}

/// Bytes that a directory takes on its disk, with everything below it; links are not followed. What
/// vanishes meanwhile counts as nothing.
pub(super) fn disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut open = vec![dir.to_owned()];
    let mut bytes = 0;
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * 512;
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}

/// As [`disk`], for a directory of the run.
pub(super) fn disk_of(dir: &Utf8Path) -> u64 {
    disk(dir.as_std_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_thread_more_are_counted_as_such() {
        let before = now()[SUITE];
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let after = now()[SUITE];
        // Other tests may run in this process at the same time.
        assert!(after.files > before.files && after.threads > before.threads, "{before:?} {after:?}");
        assert!(after.resident > 1 << 20 && after.processes == 1, "{after:?}");
        drop((file, done));
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        let status = "Name:\tx\nVmHWM:\t  900 kB\nVmRSS:\t  300 kB\nThreads:\t4\n";
        assert_eq!(parse_status(status), Some((300 << 10, 4)));
        assert_eq!(parse_status("Name:\tx\n"), None);
        assert_eq!(parse_stat("7 (a (b) c) S 3 9 9 0"), Some(("a (b) c", 3, 9)));
        assert_eq!(parse_stat("7 (a"), None);
        let ticks = 3 * clock_ticks_per_second();
        let stat = format!("7 (a (b) c) S 3 9 9 0 0 0 0 0 0 0 {ticks} {ticks} 5 5");
        assert_eq!(parse_processor_time(&stat), Some(6_000));
        assert_eq!(parse_processor_time("7 (a) S 3"), Some(0));
    }

    #[test]
    fn the_core_is_found_by_its_group_and_a_directory_by_its_blocks() {
        use std::os::unix::process::CommandExt as _;
        let mut child = std::process::Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let group = Pid::from_child(&child);
        let found = processes(getpid(), &[group]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, [(SUITE, getpid()), (CORE, group)]);

        let dir = tempfile::tempdir().unwrap();
        let before = disk(dir.path());
        std::fs::create_dir(dir.path().join("below")).unwrap();
        std::fs::write(dir.path().join("below/file"), vec![7; 1 << 20]).unwrap();
        assert!(disk(dir.path()) >= before + (1 << 20));
    }
}
