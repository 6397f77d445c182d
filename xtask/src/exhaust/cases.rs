//! The cases: what is taken away from a run, when, how much is left, and what the run must say.

use std::time::Duration;

use crate::conformance::scenarios::Tier;

/// What is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Space on a small file system. The amount is how much is left.
    Space(Unit, Holds),
    /// The directory of temporary files cannot be written.
    ReadOnlyTemporary,
    /// Address space of every process of the run. The amount is in MiB.
    AddressSpace,
    /// The kernel says that little memory is available. The amount is in MiB.
    AvailableMemory,
    /// Time: the clock is set back by two days. Monotonic clocks go on.
    Clock,
    /// libvirt accepts connections and never answers.
    SilentLibvirt,
    /// libvirt stops during the run, and keeps its connections.
    StoppedLibvirt,
    /// A guest's QEMU stops during the run.
    StoppedQemu,
    /// Ports for guests. The amount is how many there are.
    Ports,
    /// Address space of a guest's QEMU. The amount is in MiB.
    GuestMemory,
}

/// What a small file system has little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Blocks of 4 KiB.
    Blocks,
    /// Files.
    Inodes,
}

/// What a small file system holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The evidence of the run.
    Evidence,
    /// The history.
    History,
    /// Temporary files.
    Temporary,
    /// Files in memory, where simulated cores keep their state.
    Memory,
}

/// When it is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the run.
    Before,
    /// When the run has examined the host: it starts its first program.
    Examined,
    /// When this file of the evidence is there.
    File(&'static str),
    /// When this is a line of the run's progress, or part of one.
    Progress(&'static str),
}

/// How the run must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Without a verdict.
    Unknown,
    /// Without a verdict, until enough is left: with the last amount it passes.
    UnknownUntilEnough,
    /// It passes: what is missing is not needed.
    Passes,
}

/// One case.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// The scenario of its runs.
    pub scenario: &'static str,
    /// What is taken away.
    pub lack: Lack,
    /// When.
    pub moment: Moment,
    /// How much is left, in a run for each; none: one run.
    pub left: &'static [u64],
    /// The amounts of the short version of the campaign; nothing: it leaves the case out.
    pub short: Option<&'static [u64]>,
    /// How the runs end.
    pub ends: Ends,
    /// What one of the last lines says of a run that has no verdict.
    pub says: &'static [&'static str],
    /// The time in which a run ends.
    pub within: Duration,
}

/// The scenario of runs in memory.
const IN_MEMORY: &str = "sim-kvm-kvm";
/// The scenario of runs on guests.
const ON_GUESTS: &str = "vmware-azure";
/// A cycle on guests takes minutes without KVM, and no wait in it is longer than a few of them.
const ON_GUESTS_WITHIN: Duration = Duration::from_secs(1800);
/// The source has booted and replicates, and its failover is about to begin.
const FAILOVER: Moment = Moment::Progress("\"edge\":\"failover\"");

/// A run in memory takes seconds on an idle machine.
const IN_MEMORY_WITHIN: Duration = Duration::from_secs(300);

const CASE: Case = Case {
    name: "",
    title: "",
    scenario: IN_MEMORY,
    lack: Lack::Clock,
    moment: Moment::Before,
    left: &[],
    short: None,
    ends: Ends::Unknown,
    says: &[],
    within: IN_MEMORY_WITHIN,
};

const GUESTS: Case = Case { scenario: ON_GUESTS, within: ON_GUESTS_WITHIN, ..CASE };

/// Every case.
pub const CASES: &[Case] = &[
    Case {
        name: "disk-full",
        title: "the disk of the evidence is full after so many blocks of 4 KiB",
        lack: Lack::Space(Unit::Blocks, Holds::Evidence),
        moment: Moment::Examined,
        left: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 21, 22, 23, 24, 28, 32, 36, 40, 48, 256],
        short: Some(&[0, 3, 6]),
        ends: Ends::UnknownUntilEnough,
        says: &["is full", "--out"],
        ..CASE
    },
    Case {
        name: "disk-full-at-start",
        title: "the disk of the evidence has less than a run needs",
        lack: Lack::Space(Unit::Blocks, Holds::Evidence),
        left: &[0, 1, 1 << 19],
        says: &["choose another place with --out"],
        ..CASE
    },
    Case {
        name: "disk-full-at-report",
        title: "the disk of the evidence is full once the scenario has left its result",
        lack: Lack::Space(Unit::Blocks, Holds::Evidence),
        moment: Moment::File("sim-kvm-kvm/result.json"),
        left: &[0, 4],
        says: &["is full", "--out"],
        ..CASE
    },
    Case {
        name: "no-inodes",
        title: "the disk of the evidence takes so many more files",
        lack: Lack::Space(Unit::Inodes, Holds::Evidence),
        moment: Moment::Examined,
        left: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 64],
        short: Some(&[4]),
        ends: Ends::UnknownUntilEnough,
        says: &["is full", "--out"],
        ..CASE
    },
    Case {
        name: "history-full",
        title: "the disk of the history is full, which takes nothing from the run itself",
        lack: Lack::Space(Unit::Blocks, Holds::History),
        moment: Moment::Examined,
        left: &[0, 2],
        ends: Ends::Passes,
        ..CASE
    },
    Case {
        name: "temporary-full",
        title: "the directory of temporary files has so many blocks of 4 KiB left",
        lack: Lack::Space(Unit::Blocks, Holds::Temporary),
        left: &[0],
        says: &["temporary files", "TMPDIR"],
        ..CASE
    },
    Case {
        name: "temporary-read-only",
        title: "the directory of temporary files cannot be written",
        lack: Lack::ReadOnlyTemporary,
        short: Some(&[]),
        says: &["temporary files", "TMPDIR"],
        ..CASE
    },
    Case {
        name: "memory-files-full",
        title: "files in memory, where simulated cores keep their state, have so many blocks of 4 KiB",
        lack: Lack::Space(Unit::Blocks, Holds::Memory),
        left: &[0, 1, 20],
        says: &["/dev/shm is full"],
        ..CASE
    },
    Case {
        name: "little-memory",
        title: "the kernel says that less memory is available than a run needs",
        lack: Lack::AvailableMemory,
        left: &[0, 100, 1900],
        short: Some(&[100]),
        says: &["memory is available"],
        ..CASE
    },
    Case {
        name: "address-space",
        title: "every process of the run gets this much address space",
        lack: Lack::AddressSpace,
        left: &[40, 60, 80, 100, 150, 200, 250, 300, 400, 4096],
        short: Some(&[100]),
        ends: Ends::UnknownUntilEnough,
        says: &["got no memory", "ulimit"],
        ..CASE
    },
    Case {
        name: "clock-back",
        title: "the clock is set back by two days during the run",
        lack: Lack::Clock,
        moment: Moment::File("sim-kvm-kvm/started.json"),
        short: Some(&[]),
        ends: Ends::Passes,
        ..CASE
    },
    Case {
        name: "libvirt-silent",
        title: "libvirt accepts connections and never answers",
        lack: Lack::SilentLibvirt,
        says: &["libvirt", "did not answer"],
        ..CASE
    },
    Case {
        name: "libvirt-stopped",
        title: "libvirt stops during a failover of guests",
        lack: Lack::StoppedLibvirt,
        moment: FAILOVER,
        says: &["libvirt", "did not answer"],
        ..GUESTS
    },
    Case {
        name: "qemu-stopped",
        title: "a guest's QEMU stops during its failover",
        lack: Lack::StoppedQemu,
        moment: FAILOVER,
        says: &["stopped by a signal"],
        ..GUESTS
    },
    Case {
        name: "guest-ports",
        title: "the host has so many ports, of which a guest needs two",
        lack: Lack::Ports,
        left: &[1, 3],
        says: &["no port"],
        ..GUESTS
    },
    Case {
        name: "guest-memory",
        title: "a guest's QEMU gets so little address space that the guest has no memory",
        lack: Lack::GuestMemory,
        left: &[1500],
        says: &["no memory for the guest"],
        ..GUESTS
    },
    Case {
        name: "disk-full-on-guests",
        title: "the disk of the evidence has so many blocks of 4 KiB when a failover of guests begins",
        lack: Lack::Space(Unit::Blocks, Holds::Evidence),
        moment: FAILOVER,
        left: &[1000],
        says: &["is full", "--out"],
        ..GUESTS
    },
];

impl Case {
    /// Where its runs take place.
    pub fn tier(&self) -> Tier {
        if self.scenario == ON_GUESTS { Tier::Real } else { Tier::Sim }
    }

    /// Whether it needs a name space of mounts.
    pub fn needs_mounts(&self) -> bool {
        let has_mounts =
            matches!(self.lack, Lack::Space(..) | Lack::ReadOnlyTemporary | Lack::AvailableMemory);
        has_mounts || self.needs_own_libvirt()
    }

    /// Whether its runs need a libvirt of the campaign's own: one that may be stopped, whose guests
    /// have few ports, or whose guests see a file system that only the campaign sees.
    pub fn needs_own_libvirt(&self) -> bool {
        self.tier() == Tier::Real && self.lack != Lack::StoppedQemu
    }

    /// The amounts of its runs; of a case without amounts, one run that has none.
    pub fn amounts(&self, short: bool) -> Vec<u64> {
        let amounts = self.short.filter(|_| short).unwrap_or(self.left);
        if amounts.is_empty() { vec![0] } else { amounts.to_vec() }
    }

    /// What is left, for people.
    pub fn amount(&self, left: u64) -> String {
        let unit = match self.lack {
            Lack::Space(Unit::Blocks, _) => "blocks",
            Lack::Space(Unit::Inodes, _) => "files",
            Lack::AddressSpace | Lack::AvailableMemory | Lack::GuestMemory => "MiB",
            Lack::Ports => "ports",
            _ => return String::new(),
        };
        format!(", {left} {unit} left")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_says_what_must_be_said() {
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            assert!(!case.title.is_empty() && !case.title.ends_with('.'), "{}", case.name);
            assert_eq!(case.says.is_empty(), case.ends == Ends::Passes, "{}", case.name);
            assert!(case.ends != Ends::UnknownUntilEnough || case.left.len() > 1, "{}", case.name);
            let known = |amount: &u64| case.left.contains(amount);
            assert!(case.short.is_none_or(|short| short.iter().all(known)), "{}", case.name);
            assert!(case.left.is_sorted(), "{}", case.name);
        }
    }

    #[test]
    fn the_short_version_takes_some_amounts_and_a_case_without_amounts_runs_once() {
        let case = |name: &str| CASES.iter().find(|case| case.name == name).expect("there is one");
        assert!(case("disk-full").amounts(true).len() < case("disk-full").amounts(false).len());
        assert_eq!(case("clock-back").amounts(true), [0]);
        assert_eq!(case("clock-back").amount(0), "");
        assert_eq!(case("no-inodes").amount(7), ", 7 files left");
    }
}
