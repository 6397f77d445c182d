//! The processes of a run, found by a variable in their environment, and guests by their command
//! line. Never by the name of a program: others may run the same ones.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use camino::Utf8Path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable that marks every process of a run of a campaign.
pub const MARK: &str = "ROUNDTRIP_TORTURE";
/// How often `/proc` is searched for processes that no event announces.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One of the processes that a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// `cargo xtask` itself
    Xtask,
    /// The test runner
    Nextest,
    /// The process of a scenario
    Scenario,
    /// A core with a process of its own, see `--core`
    Core,
    /// The server of the disks of machines that are off
    StorageDaemon,
    /// A guest
    Qemu,
    /// libvirt, of the campaign's own; needs root and --tier real
    Libvirtd,
}

impl Kind {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xtask => "xtask",
            Self::Nextest => "nextest",
            Self::Scenario => "the scenario",
            Self::Core => "the core",
            Self::StorageDaemon => "the storage daemon",
            Self::Qemu => "QEMU",
            Self::Libvirtd => "libvirtd",
        }
    }
}

/// A process, distinguishable from a later one with the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// When it began, in clock ticks since the host's start.
    started: u64,
    parent: i32,
    /// Its command line.
    pub words: Vec<String>,
}

/// The fields of `/proc/PID/stat` after the name: state, parent and start. `None` for a zombie.
fn parse_stat(stat: &str) -> Option<(i32, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let alive = fields.next().is_some_and(|state| state != "Z" && state != "X");
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    alive.then_some((parent, started))
}

impl Process {
    /// The process of this id, if there is one.
    pub fn find(pid: i32) -> Option<Self> {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
        let (parent, started) = parse_stat(&String::from_utf8_lossy(&read("stat")?))?;
        let line = read("cmdline")?;
        let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        Some(Self { pid, started, parent, words: words.filter(|word| !word.is_empty()).collect() })
    }

    fn program(&self) -> &str {
        self.words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default()
    }

    /// Its pidfd; nothing if it has ended.
    fn open(&self) -> Option<OwnedFd> {
        let opened = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // The descriptor holds the process, so the id was not reused if the start is the same now.
        Self::find(self.pid).filter(|now| now.started == self.started).map(|_| opened)
    }

    /// Sends it a signal. Returns whether it was still there.
    pub fn signal(&self, signal: Signal) -> bool {
        self.open().is_some_and(|process| pidfd_send_signal(&process, signal).is_ok())
    }

    /// Waits for its end. Returns whether it ended within the bound.
    pub fn ends_within(&self, bound: Duration) -> bool {
        let Some(process) = self.open() else { return true };
        let deadline = Instant::now() + bound;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

/// The processes of one run.
pub struct Family<'a> {
    /// The value of [`MARK`] in their environment.
    pub mark: &'a str,
    /// The run's directory, which the command lines of its guests name.
    pub out: &'a Utf8Path,
    /// The process id of `xtask`.
    pub root: i32,
}

impl Family<'_> {
    /// All that live now.
    pub fn members(&self) -> Vec<Process> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.holds(*pid)).filter_map(Process::find).collect()
    }

    fn holds(&self, pid: i32) -> bool {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let variable = format!("{MARK}={}", self.mark);
        let marked = read("environ").split(|byte| *byte == 0).any(|one| one == variable.as_bytes());
        // This campaign's own process may have been started with the directory as an argument.
        let here = pid == rustix::process::getpid().as_raw_nonzero().get();
        !here && (marked || String::from_utf8_lossy(&read("cmdline")).contains(self.out.as_str()))
    }

    /// Whether `xtask` has started a program that still runs.
    pub fn has_child(&self) -> bool {
        self.members().iter().any(|one| one.parent == self.root)
    }

    /// Those of a kind. libvirt is none of them: it belongs to the campaign.
    pub fn of(&self, kind: Kind) -> Vec<Process> {
        let all = self.members();
        let is_nextest = |one: &Process| {
            one.parent == self.root && one.words.iter().any(|word| word == "nextest" || word == "run")
        };
        let runners: Vec<i32> = all.iter().filter(|one| is_nextest(one)).map(|one| one.pid).collect();
        let is_of = |one: &&Process| match kind {
            Kind::Xtask => one.pid == self.root,
            Kind::Nextest => runners.contains(&one.pid),
            Kind::Scenario => runners.contains(&one.parent),
            Kind::Core => one.program() == "roundtrip-core",
            Kind::StorageDaemon => one.program() == "qemu-storage-daemon",
            Kind::Qemu => one.program().starts_with("qemu-system"),
            Kind::Libvirtd => false,
        };
        all.iter().filter(is_of).cloned().collect()
    }

    /// Waits until none of its own processes is left; guests belong to libvirt. Returns those that
    /// are left after the bound.
    pub fn ends_within(&self, bound: Duration) -> Vec<Process> {
        let deadline = Instant::now() + bound;
        loop {
            let guest = |one: &Process| one.program().starts_with("qemu-system");
            let mut left = self.members();
            left.retain(|one| !guest(one));
            let over = Instant::now() >= deadline;
            match left.first() {
                Some(first) if !over => {
                    first.ends_within(deadline.saturating_duration_since(Instant::now()));
                }
                _ => return left,
            }
        }
    }

    /// Waits until there is a process of a kind, or until `xtask` has ended.
    pub fn awaited(&self, kind: Kind, bound: Duration) -> Result<bool> {
        let deadline = Instant::now() + bound;
        while self.of(kind).is_empty() {
            let Some(root) = Process::find(self.root) else { return Ok(false) };
            if Instant::now() >= deadline || root.ends_within(LOOK_EVERY) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_hold_brackets() {
        let rest = "S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 9 9";
        assert_eq!(parse_stat(&format!("42 (a) b) {rest}")), Some((7, 12345)));
        assert_eq!(parse_stat(&format!("42 (a) {}", rest.replacen('S', "Z", 1))), None);
    }

    #[test]
    fn only_a_process_that_is_still_the_same_gets_a_signal() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("it starts");
        let pid = i32::try_from(child.id()).expect("a process id");
        let found = Process::find(pid).expect("it runs");
        let other = Process { started: found.started + 1, ..found.clone() };
        assert!(!other.signal(Signal::KILL));
        assert!(!found.ends_within(Duration::from_millis(20)));
        assert!(found.signal(Signal::KILL) && found.ends_within(Duration::from_secs(30)));
        child.wait().expect("it ended");
        assert_eq!(Process::find(pid), None);
    }
}
