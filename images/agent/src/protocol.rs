//! The protocol between agent and client: one JSON object per line, one answer per question.
//!
//! The disks of a snapshot are read over NBD at [`NBD_PORT`]. Each disk is an export, named by its
//! serial number. Beside `base:allocation` an export offers the meta context [`CHANGED`] if the
//! changes since the given snapshot are known.

use serde::{Deserialize, Serialize};

/// TCP port of the control protocol in the guest.
pub const CONTROL_PORT: u16 = 7171;
/// TCP port of the NBD server in the guest.
pub const NBD_PORT: u16 = 10809;
/// NBD meta context in which flag 1 marks changed ranges.
pub const CHANGED: &str = "roundtrip:changed";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// Which disks are there? Answer: [`Answer::Here`].
    Hello,
    /// Take a snapshot of all disks at one moment. An open snapshot is closed without being
    /// acknowledged. Answer: [`Answer::DiskSnapshot`].
    Open {
        /// The snapshot since which changes are wanted.
        since: Option<String>,
    },
    /// Close a snapshot. Succeeds if it is not open. Answer: [`Answer::Done`].
    Close {
        /// Name of the snapshot.
        change: String,
        /// Whether its content reached its destination, so that changes count from there.
        acknowledge: bool,
    },
    /// Stop change tracking, which slows the machine down. Answer: [`Answer::Done`].
    Forget,
    /// Shut the machine down. Answer: [`Answer::Done`], sent before the shutdown begins.
    ShutDown,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Answer {
    /// The disks that can be replicated.
    Here {
        /// The disks.
        disks: Vec<Disk>,
    },
    /// A snapshot is open.
    DiskSnapshot {
        /// Name of the snapshot; no later start of the agent uses it again.
        change: String,
        /// Whether the exports offer [`CHANGED`]. They do not if the given snapshot is unknown or
        /// the agent's store overflowed since.
        tells_changes: bool,
        /// The disks.
        disks: Vec<Disk>,
    },
    /// The request was executed.
    Done,
    /// The request failed.
    Refused {
        /// What was tried and what was found.
        why: String,
    },
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Serial number that the disk reports; also the name of its export.
    pub serial: String,
    /// Size in bytes.
    pub bytes: u64,
}
