//! The libvirt daemon: whether one is needed, whether it answers, how to start it on this machine.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::error::infrastructure;
use crate::process::{holds_within, wait_bounded};
use crate::system::System;
use crate::terminal::say;

/// Sockets of the system daemon: the monolithic daemon's, and that of the daemon for QEMU alone.
const SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];
/// Socket of virtlogd, which writes the logs of guests. It starts on demand only under systemd or in a session.
const LOG_SOCKET: &str = "/run/libvirt/virtlogd-sock";
/// Socket units of systemd, in order of preference.
const UNITS: [&str; 2] = ["libvirtd.socket", "virtqemud.socket"];
const UNIT_DIRS: [&str; 3] = ["/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system"];
/// How long a daemon may take until it listens.
const BOUND: Duration = Duration::from_secs(30);

/// libvirt's URI for this user. An ordinary user's daemon starts by itself on first use.
pub fn uri(system: &dyn System) -> &'static str {
    if system.is_root() { "qemu:///system" } else { "qemu:///session" }
}

/// Whether the system daemon accepts connections. A socket file alone proves nothing: a dead daemon leaves one.
pub fn answers(system: &dyn System) -> bool {
    SOCKETS.iter().any(|socket| system.accepts(socket))
}

/// Whether a daemon must be started.
pub fn is_needed(system: &dyn System) -> bool {
    system.is_root() && (!answers(system) || !log_daemon_is_fine(system))
}

fn has_systemd(system: &dyn System) -> bool {
    system.exists("/run/systemd/system")
}

fn log_daemon_is_fine(system: &dyn System) -> bool {
    has_systemd(system) || system.program("virtlogd").is_none() || system.accepts(LOG_SOCKET)
}

/// The commands that start each daemon that does not answer.
pub fn commands(system: &dyn System) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    if has_systemd(system) {
        let there = |unit: &&&str| UNIT_DIRS.iter().any(|dir| system.exists(&format!("{dir}/{unit}")));
        let unit = UNITS.iter().find(there).filter(|_| !answers(system));
        all.extend(unit.map(|unit| vec!["systemctl", "enable", "--now", unit]));
    } else {
        if !log_daemon_is_fine(system) {
            all.push(vec!["virtlogd", "-d"]);
        }
        let daemon = ["libvirtd", "virtqemud"].into_iter().find(|name| system.program(name).is_some());
        all.extend(daemon.filter(|_| !answers(system)).map(|name| vec![name, "-d"]));
    }
    all.into_iter().map(|argv| argv.into_iter().map(String::from).collect()).collect()
}

/// Starts each daemon that does not answer, and waits until the system daemon answers.
pub fn start(system: &dyn System) -> Result<()> {
    if !is_needed(system) {
        return Ok(());
    }
    for argv in commands(system) {
        start_one(system, &argv)?;
    }
    if holds_within(BOUND, || answers(system)) {
        say("  start the libvirt daemon … done");
        return Ok(());
    }
    Err(infrastructure(format!(
        "Started the libvirt daemon, and nothing answers at {} after {} s: run `libvirtd` in a terminal to see why.",
        SOCKETS[0],
        BOUND.as_secs()
    )))
}

/// Runs one command. With `-d` a daemon returns when it listens or has failed.
fn start_one(system: &dyn System, argv: &[String]) -> Result<()> {
    let shown = argv.join(" ");
    let program = system.program(&argv[0]).unwrap_or_else(|| argv[0].clone());
    let mut child = Command::new(program)
        .args(&argv[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("tried to run `{shown}`"))?;
    match wait_bounded(&mut child, BOUND)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(infrastructure(format!(
            "Tried to start the libvirt daemon with `{shown}` and it failed ({status}): run it by hand to see why."
        ))),
        None => Err(infrastructure(format!(
            "`{shown}` did not return within {} s: run it by hand to see why.",
            BOUND.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::fixture::Fixture;

    fn container() -> Fixture {
        Fixture::default().program("libvirtd").program("virtlogd")
    }

    #[test]
    fn a_container_starts_both_daemons_itself() {
        assert_eq!(commands(&container()), [["virtlogd", "-d"], ["libvirtd", "-d"]]);
    }

    #[test]
    fn a_socket_without_a_daemon_does_not_count() {
        let stale = container().file(SOCKETS[0], "").file(LOG_SOCKET, "");
        assert!(is_needed(&stale));
        assert_eq!(commands(&stale).len(), 2);
    }

    #[test]
    fn a_daemon_that_answers_is_not_started_again() {
        let up = container().socket(SOCKETS[1]).socket(LOG_SOCKET);
        assert!(!is_needed(&up));
        assert!(commands(&up).is_empty());
    }

    #[test]
    fn systemd_starts_the_unit_that_is_installed() {
        let modern = container()
            .file("/run/systemd/system/x", "")
            .file("/usr/lib/systemd/system/virtqemud.socket", "");
        assert_eq!(commands(&modern), [["systemctl", "enable", "--now", "virtqemud.socket"]]);
    }

    #[test]
    fn an_ordinary_user_needs_no_system_daemon() {
        let user = container().ordinary_user();
        assert!(!is_needed(&user));
        assert_eq!(uri(&user), "qemu:///session");
    }
}
