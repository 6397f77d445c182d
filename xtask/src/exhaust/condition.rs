//! The conditions of one run: what is prepared before it, what is taken away during it, and what is
//! given back afterwards.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::process::Command;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::Signal;

use super::cases::{Case, Holds, Lack, Unit};
use crate::checks::tools::FAKETIME;
use crate::room::mounts::{Shown, Small};
use crate::room::own_libvirt::{Limit, OwnLibvirt};
use crate::torture::processes::{Family, Kind};
use crate::torture::remains::MEMORY;
use crate::torture::runs::Runs;

/// What a file system takes in which there is no lack of it.
const AMPLE: u64 = 50_000;
const MIB: u64 = 1 << 20;
/// The largest file of evidence that is kept.
const LARGEST_KEPT: u64 = 4 * MIB;
/// Where the kernel says how much memory is available.
const MEMINFO: &str = "/proc/meminfo";

/// Tells nextest what to start tests with.
const TEST_RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// What a run finds.
pub struct Condition {
    lack: Lack,
    left: u64,
    /// The directory of the run's evidence.
    pub out: Utf8PathBuf,
    /// The history.
    pub history: Utf8PathBuf,
    /// The directory of temporary files.
    pub temporary: Utf8PathBuf,
    /// libvirt's URI.
    pub uri: String,
    /// The words of a program that becomes the run.
    pub wrapper: Vec<String>,
    /// Variables of the run.
    pub variables: Vec<(&'static str, String)>,
    small: Option<Small>,
    own: Option<OwnLibvirt>,
    clock: Option<Utf8PathBuf>,
    _shown: Option<Shown>,
}

impl Condition {
    /// Prepares run `number`, with this much left.
    pub fn prepare(runs: &Runs<'_>, case: &Case, left: u64, number: u64) -> Result<Self> {
        let mut condition = Self {
            lack: case.lack,
            left,
            out: runs.dir.join(format!("run-{number}")),
            history: runs.history(),
            temporary: runs.temporary.clone(),
            uri: runs.uri.to_owned(),
            wrapper: Vec::new(),
            variables: Vec::new(),
            small: None,
            clock: None,
            own: None,
            _shown: None,
        };
        match case.lack {
            Lack::Space(_, holds) => condition.mount(runs.dir, holds, number)?,
            Lack::ReadOnlyTemporary => condition.mount(runs.dir, Holds::Temporary, number)?,
            Lack::AddressSpace => condition.wrapper = vec!["prlimit".into(), format!("--as={}", left * MIB)],
            Lack::AvailableMemory => condition.show_memory(runs.dir)?,
            Lack::Clock => condition.fake_clock(runs)?,
            Lack::SilentLibvirt => condition.listen(runs.dir, number)?,
            Lack::StoppedLibvirt | Lack::StoppedQemu | Lack::Ports | Lack::GuestMemory => {}
        }
        if case.needs_own_libvirt() {
            condition.start_libvirt(runs)?;
        }
        Ok(condition)
    }

    fn start_libvirt(&mut self, runs: &Runs<'_>) -> Result<()> {
        let limit = match self.lack {
            Lack::Ports => Limit::Ports(self.left),
            Lack::GuestMemory => Limit::AddressSpace(self.left),
            _ => Limit::None,
        };
        let own = OwnLibvirt::start(runs.dir, runs.uri, limit)?;
        if self.lack == Lack::Ports {
            // The suite talks to guests through their ports.
            self.wrapper = vec!["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", own.pid())];
        }
        self.own = Some(own);
        Ok(())
    }

    fn mount(&mut self, dir: &Utf8Path, holds: Holds, number: u64) -> Result<()> {
        let small = match holds {
            Holds::Memory => Small::mounted(Utf8Path::new(MEMORY))?,
            _ => Small::mounted(&dir.join(format!("small-{number}")))?,
        };
        match holds {
            Holds::Evidence => self.out = small.path.join("run"),
            Holds::History => self.history = small.path.join("history.sqlite"),
            Holds::Temporary => {
                self.temporary = small.path.join("t");
                std::fs::create_dir(&self.temporary)?;
            }
            Holds::Memory => {}
        }
        self.small = Some(small);
        Ok(())
    }

    fn show_memory(&mut self, dir: &Utf8Path) -> Result<()> {
        let text = std::fs::read_to_string(MEMINFO)?;
        let available = format!("MemAvailable: {} kB", self.left * MIB / 1024);
        let line = |line: &str| match line.starts_with("MemAvailable:") {
            true => format!("{available}\n"),
            false => format!("{line}\n"),
        };
        let file = dir.join("meminfo");
        std::fs::write(&file, text.lines().map(line).collect::<String>())?;
        self._shown = Some(Shown::instead_of(Utf8Path::new(MEMINFO), &file)?);
        Ok(())
    }

    /// Lets the scenario see a clock that follows a file. Only the scenario: some programs, such as
    /// `rustc`, do not start with the library that shows it.
    fn fake_clock(&mut self, runs: &Runs<'_>) -> Result<()> {
        let faketime = FAKETIME.command(runs.root).get_program().to_owned();
        let output = Command::new(faketime).args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
        let library = String::from_utf8(output.context("start faketime")?.stdout)?;
        let file = runs.dir.join("clock");
        std::fs::write(&file, "+0")?;
        let runner = format!(
            "env LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={file} FAKETIME_NO_CACHE=1 NO_FAKE_STAT=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1",
            library.trim()
        );
        self.variables = vec![(TEST_RUNNER, runner)];
        self.clock = Some(file);
        Ok(())
    }

    fn listen(&mut self, dir: &Utf8Path, number: u64) -> Result<()> {
        let socket = dir.join(format!("silent-{number}"));
        let listener = UnixListener::bind(&socket).with_context(|| format!("tried to listen at {socket}"))?;
        self.uri = format!("{}?socket={socket}", self.uri);
        // The thread ends with the campaign; nobody connects once the run has ended.
        std::thread::spawn(move || {
            // Not collected, which would reserve room for connections without end.
            let mut connections = Vec::new();
            for connection in listener.incoming() {
                connections.push(connection);
            }
        });
        Ok(())
    }

    /// Takes away what the case is about. `family` are the processes of the run.
    pub fn take(&self, family: &Family<'_>) -> Result<()> {
        match (self.lack, &self.small, &self.clock, &self.own) {
            (Lack::Space(Unit::Blocks, _), Some(small), ..) => small.leave(self.left, AMPLE),
            (Lack::Space(Unit::Inodes, _), Some(small), ..) => small.leave(AMPLE, self.left),
            (Lack::ReadOnlyTemporary, Some(small), ..) => small.forbid_writing(),
            (Lack::Clock, _, Some(file), _) => Ok(std::fs::write(file, "-2d")?),
            (Lack::StoppedLibvirt, .., Some(own)) => own.signal(Signal::STOP),
            (Lack::StoppedQemu, ..) => {
                let stopped = family.of(Kind::Qemu).iter().filter(|guest| guest.signal(Signal::STOP)).count();
                anyhow::ensure!(stopped > 0, "there is no guest to stop");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Gives it back, so that the evidence can be judged.
    pub fn give_back(&self) -> Result<()> {
        match (self.lack, &self.small, &self.own) {
            (Lack::Space(..), Some(small), _) => small.enlarge(),
            (Lack::StoppedLibvirt, _, Some(own)) => own.signal(Signal::CONT),
            _ => Ok(()),
        }
    }

    /// Keeps the evidence that lies on a small file system, without disks and write logs, beside
    /// the logs of the campaign.
    pub fn keep_evidence(&self, dir: &Utf8Path, number: u64) -> Result<()> {
        let kept = dir.join(format!("run-{number}"));
        if self.out == kept || !self.out.exists() {
            return Ok(());
        }
        copy(&self.out, &kept)
    }
}

fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in from.read_dir_utf8()? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(path, &to)?;
        } else if entry.metadata()?.len() <= LARGEST_KEPT {
            let mut source = File::open(path)?;
            std::io::copy(&mut source, &mut File::create(to)?)?;
        }
    }
    Ok(())
}
