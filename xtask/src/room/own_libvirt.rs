//! A libvirt of the campaign's own, in its name space of mounts: the host's libvirt and the guests
//! of others are not touched by what is done to it.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::mounts::Small;
use crate::error::infrastructure;
use crate::hold::held;
use crate::process::{holds_within, wait_bounded};
use crate::torture::foreign::virsh;
use crate::torture::processes::Process;

/// Where the system daemons keep their sockets, state, logs and definitions.
const PLACES: [&str; 5] =
    ["/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt", "/etc/libvirt/qemu"];
/// Where libvirt notes the process of each guest.
const GUESTS: &str = "/run/libvirt/qemu";
/// The time in which a daemon answers, or ends when it is asked to.
const BOUND: Duration = Duration::from_secs(60);
/// The first of few ports.
const FIRST_PORT: u64 = 40_000;
/// Lets the daemon and its guests have this many ports, and no other network than loopback.
const FEW_PORTS: &str = "ip link set lo up && echo \"$1 $2\" > /proc/sys/net/ipv4/ip_local_port_range && shift 2 && \
                         exec \"$@\"";

/// What the daemon and the guests that it starts are bound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing.
    None,
    /// So many ports.
    Ports(u64),
    /// Address space of each process, in MiB.
    AddressSpace(u64),
}

impl Limit {
    /// The words of a program that becomes the daemon.
    fn wrapper(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Ports(count) => {
                let (first, last) = (FIRST_PORT.to_string(), (FIRST_PORT - 1 + count).to_string());
                let words = ["unshare", "--net", "sh", "-c", FEW_PORTS, "sh"].map(str::to_owned);
                words.into_iter().chain([first, last]).collect()
            }
            Self::AddressSpace(size) => vec!["prlimit".to_owned(), format!("--as={}", size << 20)],
        }
    }
}

/// Why no libvirt of a campaign's own can be started in a name space of mounts here; nothing if one
/// can.
pub fn impossible() -> Option<&'static str> {
    (!geteuid().is_root()).then_some("this user may not start a libvirt of the campaign's own")
}

/// The daemons. They and guests that are left end when this is dropped, and their places are the
/// host's again.
pub struct OwnLibvirt {
    dir: Utf8PathBuf,
    uri: String,
    limit: Limit,
    libvirt: Child,
    logs: Child,
    _places: Vec<Small>,
}

impl OwnLibvirt {
    /// Starts them and waits until libvirt answers.
    pub fn start(dir: &Utf8Path, uri: &str, limit: Limit) -> Result<Self> {
        anyhow::ensure!(super::is_inside(), "outside of a name space of mounts, its places are the host's");
        let places = PLACES.iter().map(|place| Small::mounted(Utf8Path::new(place)));
        let places = places.collect::<Result<Vec<_>>>()?;
        let logs = daemon(dir, &[], "virtlogd")?;
        let libvirt = daemon(dir, &limit.wrapper(), "libvirtd")?;
        let (dir, uri) = (dir.to_owned(), uri.to_owned());
        let own = Self { dir, uri, limit, libvirt, logs, _places: places };
        own.answers()?;
        Ok(own)
    }

    /// Starts libvirt again, once the one that was killed has ended, in the same places and within
    /// the same limit. Guests that go on are its guests again.
    pub fn restart(&mut self) -> Result<()> {
        if wait_bounded(&mut self.libvirt, BOUND)?.is_none() {
            return Err(infrastructure(format!("The campaign's libvirt ({}) does not end.", self.pid())));
        }
        self.libvirt = daemon(&self.dir, &self.limit.wrapper(), "libvirtd")?;
        self.answers()
    }

    /// Waits until libvirt answers.
    fn answers(&self) -> Result<()> {
        if holds_within(BOUND, || virsh(&self.uri, &["list"]).is_ok()) {
            return Ok(());
        }
        let Self { dir, .. } = self;
        Err(infrastructure(format!(
            "A libvirt of the campaign's own does not answer: see {dir}/libvirtd.log."
        )))
    }

    /// The process id of libvirt.
    pub fn pid(&self) -> u32 {
        self.libvirt.id()
    }

    /// Sends libvirt a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.libvirt), signal)?)
    }
}

fn daemon(dir: &Utf8Path, wrapper: &[String], name: &str) -> Result<Child> {
    let log = File::options().create(true).append(true).open(dir.join(format!("{name}.log")))?;
    let pid_file = format!("/run/libvirt/{name}.pid");
    let own = [name.to_owned(), "--pid-file".to_owned(), pid_file];
    let words: Vec<&String> = wrapper.iter().chain(&own).collect();
    let (program, arguments) = words.split_first().context("no program")?;
    let mut command: Command = held(program.as_str());
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("tried to start {name}"))
}

/// Kills the guests that are noted in `dir`: once their libvirt has ended, nobody knows them.
fn end_guests(dir: &Utf8Path) {
    for note in dir.read_dir_utf8().into_iter().flatten().flatten() {
        let path = note.path();
        let named = format!("guest={},", path.file_stem().unwrap_or_default());
        let is_guest = |process: &Process| process.words.iter().any(|word| word.starts_with(&named));
        let pid = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        if let Some(guest) = pid.and_then(Process::find).filter(is_guest) {
            guest.signal(Signal::KILL);
        }
    }
}

impl Drop for OwnLibvirt {
    fn drop(&mut self) {
        // What does not end is killed, and both are children of this process.
        let _ = self.signal(Signal::CONT);
        for daemon in [&mut self.libvirt, &mut self.logs] {
            let _ = kill_process(Pid::from_child(daemon), Signal::TERM);
            if !wait_bounded(daemon, BOUND).is_ok_and(|ended| ended.is_some()) {
                let _ = daemon.kill();
                let _ = daemon.wait();
            }
        }
        end_guests(Utf8Path::new(GUESTS));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn only_a_process_that_is_the_noted_guest_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = Utf8Path::from_path(dir.path()).expect("UTF-8");
        let started = |word: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "echo; read line", word]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = shell.spawn().expect("it starts");
            // Before its program runs, a process has no arguments yet.
            child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("a line");
            child
        };
        let mut guest = started("guest=shop,debug-threads=on");
        let mut other = started("guest=shop-2,debug-threads=on");
        for (name, pid) in [("shop.pid", guest.id()), ("gone.pid", other.id())] {
            std::fs::write(dir.join(name), pid.to_string()).expect("written");
        }
        std::fs::write(dir.join("shop.xml"), "<domstatus/>").expect("written");
        end_guests(dir);
        assert_eq!(guest.wait().expect("it ended").code(), None);
        drop(other.stdin.take());
        assert!(other.wait().expect("it ended").code().is_some(), "it ended by itself");
    }

    #[test]
    fn as_many_ports_as_asked_for_are_left() {
        let words = Limit::Ports(3).wrapper();
        assert_eq!(words[words.len() - 2..], ["40000", "40002"]);
        assert_eq!(Limit::AddressSpace(2).wrapper(), ["prlimit", "--as=2097152"]);
        assert!(Limit::None.wrapper().is_empty());
    }
}
