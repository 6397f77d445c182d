//! The libvirt daemon: whether one is needed, whether it answers, how it is started here.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::error::infrastructure;
use crate::host::Host;
use crate::run::{holds_within, say, wait_bounded};

/// Sockets of the system daemon: the one for everything, and QEMU's own.
const SOCKETS: [&str; 2] = ["/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"];
/// Socket of the daemon that keeps guests' logs. libvirt starts it by itself only where systemd or a session does.
const LOG_SOCKET: &str = "/run/libvirt/virtlogd-sock";
/// Units that listen, by preference.
const UNITS: [&str; 2] = ["libvirtd.socket", "virtqemud.socket"];
const UNIT_DIRS: [&str; 3] = ["/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system"];
/// A daemon that does not listen after this long will not.
const BOUND: Duration = Duration::from_secs(30);

/// Where guests are run: an ordinary user's own daemon starts by itself on first use.
pub fn uri(host: &dyn Host) -> &'static str {
    if host.is_root() { "qemu:///system" } else { "qemu:///session" }
}

/// Whether the system daemon answers. A socket file alone says nothing: a dead daemon leaves one.
pub fn answers(host: &dyn Host) -> bool {
    SOCKETS.iter().any(|socket| host.accepts(socket))
}

/// Whether something has to be started.
pub fn is_needed(host: &dyn Host) -> bool {
    host.is_root() && (!answers(host) || !log_daemon_is_fine(host))
}

fn has_systemd(host: &dyn Host) -> bool {
    host.exists("/run/systemd/system")
}

fn log_daemon_is_fine(host: &dyn Host) -> bool {
    has_systemd(host) || host.program("virtlogd").is_none() || host.accepts(LOG_SOCKET)
}

/// The commands that start what does not answer.
pub fn commands(host: &dyn Host) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    if has_systemd(host) {
        let there = |unit: &&&str| UNIT_DIRS.iter().any(|dir| host.exists(&format!("{dir}/{unit}")));
        let unit = UNITS.iter().find(there).filter(|_| !answers(host));
        all.extend(unit.map(|unit| vec!["systemctl", "enable", "--now", unit]));
    } else {
        if !log_daemon_is_fine(host) {
            all.push(vec!["virtlogd", "-d"]);
        }
        let daemon = ["libvirtd", "virtqemud"].into_iter().find(|name| host.program(name).is_some());
        all.extend(daemon.filter(|_| !answers(host)).map(|name| vec![name, "-d"]));
    }
    all.into_iter().map(|argv| argv.into_iter().map(String::from).collect()).collect()
}

/// Starts what does not answer, and waits until it does.
pub fn start(host: &dyn Host) -> Result<()> {
    if !is_needed(host) {
        return Ok(());
    }
    for argv in commands(host) {
        start_one(host, &argv)?;
    }
    if holds_within(BOUND, || answers(host)) {
        say("  start the libvirt daemon … done");
        return Ok(());
    }
    Err(infrastructure(format!(
        "Tried to start the libvirt daemon and nothing answers at {} after {} s: run `libvirtd` in a terminal to see why.",
        SOCKETS[0],
        BOUND.as_secs()
    )))
}

/// Runs one command. `-d` returns when the daemon listens or failed to.
fn start_one(host: &dyn Host, argv: &[String]) -> Result<()> {
    let shown = argv.join(" ");
    let program = host.program(&argv[0]).unwrap_or_else(|| argv[0].clone());
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
        None => Err(infrastructure(format!("`{shown}` did not come back within {} s.", BOUND.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixture::Fixture;

    fn container() -> Fixture {
        Fixture::default().program("libvirtd").program("virtlogd")
    }

    #[test]
    fn a_container_starts_both_daemons_itself() {
        assert_eq!(commands(&container()), [["virtlogd", "-d"], ["libvirtd", "-d"]]);
    }

    #[test]
    fn a_stale_socket_does_not_count() {
        let stale = container().file(SOCKETS[0], "").file(LOG_SOCKET, "");
        assert!(is_needed(&stale));
        assert_eq!(commands(&stale).len(), 2);
    }

    #[test]
    fn what_answers_is_left_alone() {
        let up = container().socket(SOCKETS[1]).socket(LOG_SOCKET);
        assert!(!is_needed(&up));
        assert!(commands(&up).is_empty());
    }

    #[test]
    fn systemd_is_asked_for_the_unit_it_has() {
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
