//! What this host lacked, if a run ended without a verdict: one line in the place of whatever
//! failed because of it.

use anyhow::Result;
use camino::Utf8Path;
use rustix::fs::StatVfs;

use super::nextest::log_path;
use crate::error::{INFRASTRUCTURE, code_of, infrastructure};
use crate::terminal::bytes;

/// A file system with less free than this is full: the reports of a run need more.
const FULL: u64 = 1 << 20;
/// Where simulated cores keep their state.
const MEMORY: &str = "/dev/shm";
/// What an error about the place of the evidence advises.
const PLACE: &str = "choose another place with --out";
/// What an error says before the end of a log, which has lines of its own.
const LOG_FOLLOWS: &str = ". The end of";
/// Most characters of what a program said that are shown.
const MOST_SHOWN: usize = 200;
/// What programs say that got no memory.
const NO_MEMORY: [&str; 7] = [
    "no memory for the guest",
    "memory allocation of",
    "Cannot allocate memory",
    "cannot allocate memory",
    "out of memory",
    "failed to map segment",
    "Resource temporarily unavailable",
];

/// The end of a run, explained by what the host lacks now or lacked then. A run that reached a
/// verdict stays as it is.
pub fn explained(ended: Result<u8>, out: &Utf8Path) -> Result<u8> {
    let code = ended.as_ref().map_or_else(code_of, |code| *code);
    let said = ended.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
    // What the run found before it began says what to do.
    if code != INFRASTRUCTURE || said.contains(PLACE) {
        return ended;
    }
    let log = std::fs::read(log_path(out)).unwrap_or_default();
    let lacking =
        [(out, PLACE), (Utf8Path::new(MEMORY), "make it larger")].into_iter().find_map(|(place, advice)| {
            let disk = rustix::fs::statvfs(place.as_std_path()).ok()?;
            disk_line(place, &disk, &said, advice)
        });
    match lacking.or_else(|| memory_line(&said, &String::from_utf8_lossy(&log))) {
        Some(line) => Err(infrastructure(line)),
        None => ended,
    }
}

/// The line about a disk; nothing if it is not full. `said` is the error of the run.
fn disk_line(place: &Utf8Path, disk: &StatVfs, said: &str, advice: &str) -> Option<String> {
    let free = full(disk)?;
    let because = said.lines().next().map(|line| line.split(LOG_FOLLOWS).next().unwrap_or(line));
    let because = because.map(|line| format!(" ({line})")).unwrap_or_default();
    Some(format!(
        "The disk at {place} is full: {free}, so the run has no verdict{because}. Free some, or {advice}."
    ))
}

/// The line about memory; nothing if no program lacked it. `log` is what the tests printed.
fn memory_line(said: &str, log: &str) -> Option<String> {
    let found =
        |line: &str| NO_MEMORY.iter().find_map(|words| line.find(words).map(|at| line[at..].to_owned()));
    let found = said.lines().chain(log.lines()).find_map(found)?;
    let found: String = found.split(" | ").next()?.trim().chars().take(MOST_SHOWN).collect();
    Some(format!(
        "A program of the run got no memory ({found}), so the run has no verdict. Stop another program, raise the \
         limit (`ulimit -v`), or use a larger machine."
    ))
}

/// What a full file system still takes; nothing if it is not full. One without a number of files
/// has no limit of files.
fn full(disk: &StatVfs) -> Option<String> {
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < FULL {
        return Some(format!("{} free", bytes(free)));
    }
    (disk.f_files > 0 && disk.f_favail == 0).then(|| "it takes no more files".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(free: u64, files: u64) -> StatVfs {
        let mut disk = rustix::fs::statvfs("/").expect("the root is there");
        (disk.f_frsize, disk.f_bavail, disk.f_files, disk.f_favail) = (4096, free, 1000, files);
        disk
    }

    fn explained_by(disk: &StatVfs, said: &str) -> Option<String> {
        disk_line(Utf8Path::new("/out"), disk, said, PLACE)
    }

    #[test]
    fn a_full_disk_is_named_with_what_failed_first() {
        let said = "tried to write /out/asked.json: No space left on device\nmore";
        let line = explained_by(&disk(1, 9), said).expect("it is full");
        assert_eq!(line.lines().count(), 1);
        assert!(
            line.starts_with("The disk at /out is full: 4.0 KiB free") && line.contains("asked.json"),
            "{line}"
        );
        let line = explained_by(&disk(1 << 20, 0), "").expect("it takes no file");
        assert!(line.contains("no more files, so the run has no verdict. Free"), "{line}");
        let unlimited = StatVfs { f_files: 0, ..disk(1 << 20, 0) };
        assert_eq!(explained_by(&unlimited, said), None);
    }

    #[test]
    fn a_program_without_memory_is_named_by_what_it_said() {
        let log = "  sim-kvm-kvm\n    memory allocation of 65536 bytes failed\n";
        let line = memory_line("A scenario left no result", log).expect("no memory");
        assert!(line.contains("(memory allocation of 65536 bytes failed)"), "{line}");
        assert_eq!(memory_line("A scenario left no result", "it panicked"), None);
    }

    #[test]
    fn a_verdict_stays_as_it_is() {
        let nowhere = Utf8Path::new("/proc/nowhere");
        assert_eq!(explained(Ok(1), nowhere).ok(), Some(1));
        assert_eq!(explained(Ok(INFRASTRUCTURE), nowhere).ok(), Some(INFRASTRUCTURE));
        let advised = "Cannot write to /out (No space left on device): choose another place with --out.";
        let kept = explained(Err(infrastructure(advised)), nowhere).expect_err("no verdict");
        assert_eq!(kept.to_string(), advised);
    }
}
