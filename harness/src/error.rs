//! What can go wrong with guests and their host.

use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the test host, a guest or a tool; each says what was tried, what was found, what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something the suite needs is not on this machine.
    #[error("{what} is missing: {found}; `cargo xtask setup` installs it")]
    Missing {
        /// What is needed.
        what: String,
        /// What was found instead.
        found: String,
    },
    /// No guest boots here.
    #[error("no accelerator boots a guest here: {reasons}")]
    NoAccelerator {
        /// What each one said.
        reasons: String,
    },
    /// libvirt refused.
    #[error("libvirt: {tried}: {}{}", .error.message(), hint(.error))]
    Libvirt {
        /// What was tried.
        tried: String,
        /// libvirt's words.
        error: virt::error::Error,
    },
    /// A QMP command failed.
    #[error("QEMU ({monitor}): {command}: {reason}")]
    Qmp {
        /// Whose monitor.
        monitor: String,
        /// The command.
        command: String,
        /// QEMU's words.
        reason: String,
    },
    /// A guest or daemon ended while something was expected of it.
    #[error("{who} ended while waiting for {awaited}; its last words: {last_words}")]
    Died {
        /// Which process.
        who: String,
        /// What was awaited.
        awaited: String,
        /// End of its serial or error output.
        last_words: String,
    },
    /// A bounded wait ran out.
    #[error("{awaited} did not happen within {bound:?}; seen so far: {seen}")]
    TimedOut {
        /// What was awaited.
        awaited: String,
        /// The bound.
        bound: Duration,
        /// What was seen instead.
        seen: String,
    },
    /// The witness reported trouble or broke the protocol.
    #[error("the witness in {machine}: {what}")]
    Witness {
        /// Machine.
        machine: String,
        /// What it said.
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
        /// The system's words.
        error: std::io::Error,
    },
    /// NBD.
    #[error(transparent)]
    Nbd(#[from] nbd::Error),
    /// The image.
    #[error(transparent)]
    Image(#[from] images::ImageError),
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
