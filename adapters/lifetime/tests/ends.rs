//! A process, and all that it started, ends with its parent; by SIGKILL too.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lifetime::{groups, parent, until_ended};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Which of the processes this is.
const ROLE: &str = "ROUNDTRIP_TEST_CHILD";
/// What stands before the role of the process that a runner starts.
const RUNNER: &str = "runner of a ";
/// The time in which every process is gone.
const BOUND: Duration = Duration::from_secs(30);
/// The grace of a process that ignores SIGTERM.
const GRACE: Duration = Duration::from_millis(200);

fn again(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "play", "--nocapture"]).env(ROLE, role);
    command
}

/// What the processes do that the tests start.
#[test]
fn play() {
    let role = std::env::var(ROLE).unwrap_or_default();
    if let Some(role) = role.strip_prefix(RUNNER) {
        again(role).process_group(0).spawn().unwrap().wait().unwrap();
    }
    match role.as_str() {
        "worker" => work(&mut Command::new("sleep")),
        "stubborn worker" => {
            // What it starts ignores SIGTERM as well, and keeps it from ending by itself.
            work(Command::new("sh").args(["-c", "trap '' TERM; exec sleep \"$0\""]));
        }
        _ => {}
    }
}

/// Starts a program in this process's group and one in a group of its own, and tells all three
/// process ids.
fn work(sleep: &mut Command) {
    parent::end_with_parent(GRACE).unwrap();
    let mut in_group = sleep.arg("600").spawn().unwrap();
    let mut apart = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
    groups::watch(Pid::from_child(&apart));
    println!("\npids {} {} {}", std::process::id(), in_group.id(), apart.id());
    std::io::stdout().flush().unwrap();
    apart.wait().unwrap();
    in_group.wait().unwrap();
}

/// A runner with a worker, and the processes of the worker.
fn start(role: &str) -> (Child, Vec<(Pid, OwnedFd)>) {
    let mut runner = again(&format!("{RUNNER}{role}")).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(runner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pids = lines.find_map(|line| line.strip_prefix("pids ").map(ToOwned::to_owned)).unwrap();
    let open = |pid: &str| {
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        (pid, pidfd_open(pid, PidfdFlags::empty()).unwrap())
    };
    (runner, pids.split(' ').map(open).collect())
}

fn all_end(processes: &[(Pid, OwnedFd)]) {
    for (pid, process) in processes {
        let ended = until_ended(process, Some(BOUND)).unwrap();
        if !ended {
            // This test leaves nothing behind, also when it fails.
            let _ = kill_process(*pid, Signal::KILL);
        }
        assert!(ended, "process {pid:?} of {processes:?} goes on");
    }
}

#[test]
fn a_worker_and_all_that_it_started_end_with_the_runner() {
    for role in ["worker", "stubborn worker"] {
        let (mut runner, processes) = start(role);
        assert!(!until_ended(&processes[0].1, Some(Duration::ZERO)).unwrap(), "it runs");
        runner.kill().unwrap();
        runner.wait().unwrap();
        all_end(&processes);
    }
}

#[test]
fn what_a_worker_started_ends_with_the_worker() {
    let (mut runner, processes) = start("worker");
    kill_process(processes[0].0, Signal::KILL).unwrap();
    all_end(&processes);
    runner.wait().unwrap();
}
