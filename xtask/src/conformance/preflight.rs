//! Checks the operating system, disk and memory before anything is installed, built or started.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::error::infrastructure;
use crate::terminal::bytes;

const GIB: u64 = 1 << 30;

/// Free disk where a run writes its evidence and its guests' disks.
pub const RUN_DISK: u64 = 4 * GIB;
/// What each further cycle adds to that, packed: about 45 MiB of one machine, 80 MiB of a group.
const CYCLE_DISK: u64 = 96 << 20;
/// Free disk where images are kept.
pub const CACHE_DISK: u64 = 2 * GIB;
/// Memory that must be available: two guests, QEMU's own and the suite.
pub const MEMORY: u64 = 2 * GIB;

/// Free disk where temporary files go: sockets, and the state of simulated cores.
const TEMPORARY_DISK: u64 = 64 << 20;

/// Fails with one line if temporary files cannot be written.
pub fn require_temporary(dir: &Utf8Path) -> Result<()> {
    let advice = "set TMPDIR to another place";
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if let Err(error) = rustix::fs::access(dir.as_std_path(), access) {
        return Err(infrastructure(format!("Cannot write temporary files to {dir} ({error}): {advice}.")));
    }
    let free = free_disk(dir)?;
    if free >= TEMPORARY_DISK {
        return Ok(());
    }
    Err(infrastructure(format!(
        "Only {} of disk is free for temporary files at {dir}, and {} is needed: free some, or {advice}.",
        bytes(free),
        bytes(TEMPORARY_DISK)
    )))
}

/// What this host offers to a run.
pub struct Resources {
    /// Operating system, as Rust names it.
    pub os: &'static str,
    /// Free bytes where evidence goes.
    pub run_disk: u64,
    /// Free bytes where images go.
    pub cache_disk: u64,
    /// Bytes of memory available.
    pub memory: u64,
}

/// The path itself or the nearest directory above it that exists: the place where its bytes would
/// go.
fn existing(path: &Utf8Path) -> Utf8PathBuf {
    path.ancestors().find(|dir| dir.exists()).unwrap_or(Utf8Path::new("/")).to_owned()
}

/// Free bytes for an ordinary user at a path, which need not exist yet.
pub fn free_disk(path: &Utf8Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(existing(path).as_std_path())?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A field of `/proc/meminfo`, in bytes.
pub fn memory(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    meminfo(&text, field)
}

fn meminfo(text: &str, field: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

impl Resources {
    /// Measures this host.
    pub fn of(out: &Utf8Path, cache: &Utf8Path) -> Result<Self> {
        Ok(Self {
            os: std::env::consts::OS,
            run_disk: free_disk(out)?,
            cache_disk: free_disk(cache)?,
            memory: memory("MemAvailable"),
        })
    }

    /// Fails with one line for the first requirement that is not met by a run with so many cycles
    /// on guests beside the first of each scenario.
    pub fn require(&self, out: &Utf8Path, cache: &Utf8Path, further_cycles: u64) -> Result<()> {
        if self.os != "linux" {
            return Err(infrastructure(format!(
                "This is {}, and guests need Linux with QEMU: use a Linux machine.",
                self.os
            )));
        }
        let requirements = [
            (
                self.run_disk,
                RUN_DISK + CYCLE_DISK * further_cycles,
                format!("disk is free at {out}"),
                "free some, or choose another place with --out",
            ),
            (
                self.cache_disk,
                CACHE_DISK,
                format!("disk is free at {cache}"),
                "free some, or set XDG_CACHE_HOME to another place",
            ),
            (
                self.memory,
                MEMORY,
                "memory is available".into(),
                "stop another program, or use a larger machine",
            ),
        ];
        match requirements.into_iter().find(|(found, wanted, ..)| found < wanted) {
            None => Ok(()),
            Some((found, wanted, what, advice)) => Err(infrastructure(format!(
                "Only {} of {what}, and {} is needed: {advice}.",
                bytes(found),
                bytes(wanted)
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Resources)) -> Option<String> {
        refusal_of(0, change)
    }

    fn refusal_of(further_cycles: u64, change: impl FnOnce(&mut Resources)) -> Option<String> {
        let mut resources =
            Resources { os: "linux", run_disk: 9 * GIB, cache_disk: 9 * GIB, memory: 9 * GIB };
        change(&mut resources);
        resources
            .require(Utf8Path::new("runs/1"), Utf8Path::new("cache"), further_cycles)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn the_minimum_is_enough() {
        assert_eq!(refusal(|_| ()), None);
        assert_eq!(refusal(|resources| resources.run_disk = RUN_DISK), None);
    }

    #[test]
    fn many_cycles_need_more_disk() {
        let refused = |further| refusal_of(further, |resources| resources.run_disk = 5 * GIB);
        assert_eq!(refused(10), None);
        assert!(refused(12).is_some_and(|line| line.contains("5.1 GiB is needed")), "{:?}", refused(12));
    }

    #[test]
    fn each_shortage_is_reported_with_its_figures() {
        assert_eq!(
            refusal(|resources| resources.run_disk = GIB / 2).as_deref(),
            Some(
                "Only 512.0 MiB of disk is free at runs/1, and 4.0 GiB is needed: free some, or choose another place with --out."
            )
        );
        assert!(
            refusal(|resources| resources.cache_disk = 0)
                .is_some_and(|line| line.contains("at cache, and 2.0 GiB"))
        );
        assert!(
            refusal(|resources| resources.memory = GIB)
                .is_some_and(|line| line.contains("1.0 GiB of memory"))
        );
        assert!(refusal(|resources| resources.os = "macos").is_some_and(|line| line.contains("macos")));
    }

    #[test]
    fn temporary_files_need_a_place_that_can_be_written() {
        let scratch = tempfile::tempdir().expect("a directory");
        assert!(require_temporary(Utf8Path::from_path(scratch.path()).expect("UTF-8")).is_ok());
        let line = require_temporary(Utf8Path::new("/proc/none")).expect_err("it is missing").to_string();
        assert!(line.contains("/proc/none") && line.contains("TMPDIR"), "{line}");
    }

    #[test]
    fn memory_is_read_as_the_kernel_prints_it() {
        let text = "MemTotal:       24583260 kB\nMemAvailable:   24000000 kB\n";
        assert_eq!(meminfo(text, "MemAvailable"), 24_000_000 * 1024);
        assert_eq!(meminfo(text, "Mem"), 0);
    }

    #[test]
    fn a_path_that_does_not_exist_yet_has_the_free_disk_of_the_directory_above() {
        assert!(free_disk(Utf8Path::new("/not/there/yet")).expect("the root is there") > 0);
    }
}
