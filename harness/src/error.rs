//! Errors of guests and their host.

use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the test host, a guest or a tool. Each message says what was tried, what was found
/// and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program or file that the suite needs is not on this host.
    #[error("{what} is missing: {found}; `cargo xtask setup` installs it")]
    Missing {
        /// What is needed.
        what: String,
        /// What was found instead.
        found: String,
    },
    /// No accelerator boots a guest on this host.
    #[error("no accelerator boots a guest here: {reasons}")]
    NoAccelerator {
        /// The reason for each accelerator.
        reasons: String,
    },
    /// libvirt refused.
    #[error("libvirt: {tried}: {}{}{}", cause(.error.message()), .error.message(), hint(.error))]
    Libvirt {
        /// What was tried.
        tried: String,
        /// The error that libvirt returned.
        error: virt::error::Error,
    },
    /// libvirt did not answer.
    #[error(
        "libvirt: {tried}: it did not answer within {} s; restart its daemon, or name another one with --connect",
        .bound.as_secs()
    )]
    Silent {
        /// What was tried.
        tried: String,
        /// The time limit.
        bound: Duration,
    },
    /// A QMP command failed.
    #[error("QEMU ({monitor}): {command}: {reason}")]
    Qmp {
        /// The process whose monitor it was.
        monitor: String,
        /// The command.
        command: String,
        /// The error that QEMU returned.
        reason: String,
    },
    /// A guest or daemon ended while the suite was waiting for it.
    #[error("{who} ended while waiting for {awaited}; its last output: {last_words}")]
    Died {
        /// The process.
        who: String,
        /// What was awaited.
        awaited: String,
        /// End of its serial console or error output.
        last_words: String,
    },
    /// A wait reached its time limit for something that a guest does, or somebody who uses it. The
    /// limits of what the host does alone are [`Error::HostTimedOut`].
    #[error("{awaited} did not happen within {bound:?}; seen so far: {seen}")]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// The time limit.
        bound: Duration,
        /// What was observed instead.
        seen: String,
    },
    /// A wait reached its time limit for something that the host does alone: it starts or ends a
    /// process, closes an export, runs a block job. No guest and no core can make it last so long.
    #[error("the host was too slow: {awaited} did not happen within {bound:?}; seen so far: {seen}")]
    HostTimedOut {
        /// What was awaited.
        awaited: String,
        /// The time limit.
        bound: Duration,
        /// What was observed instead.
        seen: String,
    },
    /// A guest reached a time limit because the host did not let it run.
    #[error("the host starved the guest: {awaited} did not happen within {bound:?}; {why}")]
    Starved {
        /// What was awaited.
        awaited: String,
        /// The time limit.
        bound: Duration,
        /// What shows that the guest did not get to run.
        why: String,
    },
    /// The kernel of a guest lets pages of a disk change while they are written.
    #[error(
        "pages of disk {disk} in {machine} may change while they are written, so no write log can be trusted; \
         rebuild the guest image with `cargo xtask images build`"
    )]
    UnstablePages {
        /// Machine.
        machine: String,
        /// Role of the disk.
        disk: String,
    },
    /// A disk that libvirt manages is not connected as its description says.
    #[error("disk {disk} of {machine} cannot be judged: {what}")]
    WrongDisk {
        /// Machine.
        machine: String,
        /// Role of the disk.
        disk: String,
        /// What is wrong.
        what: String,
    },
    /// The witness reported an error or broke the protocol.
    #[error("the witness in {machine}: {what}")]
    Witness {
        /// Machine.
        machine: String,
        /// The error.
        what: String,
    },
    /// A tool such as qemu-img failed.
    #[error("{tool} {arguments}: {output}")]
    Tool {
        /// The tool.
        tool: String,
        /// Its arguments.
        arguments: String,
        /// What it printed.
        output: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The error that the system returned.
        error: std::io::Error,
    },
    /// An NBD request failed.
    #[error(transparent)]
    Nbd(#[from] nbd::Error),
    /// The guest image could not be built or used.
    #[error(transparent)]
    Image(#[from] images::ImageError),
}

/// What QEMU says, and what it means: a guest that the host cannot give what it needs.
const CAUSES: [(&str, &str); 3] = [
    ("Could not set up host forwarding rule", "no port is free for the guest, end what holds so many: "),
    ("cannot set up guest memory", "no memory for the guest, stop another program: "),
    ("Cannot allocate memory", "no memory for the guest, stop another program: "),
];

fn cause(message: &str) -> &'static str {
    CAUSES.iter().find(|(words, _)| message.contains(words)).map_or("", |(_, cause)| cause)
}

fn hint(error: &virt::error::Error) -> &'static str {
    let text = error.message();
    if text.contains("Failed to connect socket") {
        "; is the libvirt daemon running? `cargo xtask setup` starts it"
    } else {
        ""
    }
}

impl Error {
    /// An I/O failure at `path`.
    pub fn file(path: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_string();
        move |error| Self::File { path, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_cannot_give_a_guest_is_said_first() {
        let said = "QEMU unexpectedly closed the monitor: Could not set up host forwarding rule 'tcp:127.0.0.1:0-:22'";
        assert!(cause(said).starts_with("no port is free"));
        let said = "cannot set up guest memory 'pc.ram': Cannot allocate memory";
        assert!(cause(said).starts_with("no memory for the guest"));
        assert_eq!(cause("Domain not found"), "");
    }
}
