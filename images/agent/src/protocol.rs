//! What is asked of an agent and what it answers: one JSON object a line, each question with one answer.
//!
//! The disks of a view are read over NBD at [`NBD_PORT`], one export a disk, named by its serial number. Beside
//! `base:allocation` an export offers [`CHANGED`] if the agent can tell what changed since the moment asked about.

use serde::{Deserialize, Serialize};

/// TCP port of the questions inside the guest.
pub const CONTROL_PORT: u16 = 7171;
/// TCP port of the frozen disks inside the guest.
pub const NBD_PORT: u16 = 10809;
/// NBD meta context whose flag 1 marks what changed.
pub const CHANGED: &str = "roundtrip:changed";

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// Which disks are there? Answer: [`Answer::Here`].
    Hello,
    /// Freeze all disks at one moment. Ends an open view as if it had been closed unconsumed.
    /// Answer: [`Answer::DiskSnapshot`].
    Open {
        /// The moment to tell changes since.
        since: Option<String>,
    },
    /// End a view. One that is not open is fine. Answer: [`Answer::Done`].
    Close {
        /// The view's own moment.
        change: String,
        /// Whether its changes reached their destination.
        acknowledge: bool,
    },
    /// Forget all tracking: it costs the machine something. Answer: [`Answer::Done`].
    Forget,
    /// Shut the machine down in order. Answer: [`Answer::Done`], before it begins.
    ShutDown,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Answer {
    /// The disks under the agent's care.
    Here {
        /// Them.
        disks: Vec<Disk>,
    },
    /// The disks are frozen.
    DiskSnapshot {
        /// Name of this moment; another start of the agent never uses it again.
        change: String,
        /// Whether the exports offer [`CHANGED`]. They do not if the moment asked about is unknown, or if the
        /// agent's store overflowed since.
        tells_changes: bool,
        /// The disks.
        disks: Vec<Disk>,
    },
    /// It is done.
    Done,
    /// It cannot be done.
    Refused {
        /// What was tried and what was found.
        why: String,
    },
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Serial number, as the disk itself tells it; also the name of its export.
    pub serial: String,
    /// Size in bytes.
    pub bytes: u64,
}
