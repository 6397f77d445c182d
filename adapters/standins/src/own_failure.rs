//! Failures of a stand-in itself, for which no core is to blame.

use contract::{PlatformError, Timestamp};

/// A failure of a site itself: of QEMU, libvirt, a tool, the agent in a guest or the host's disk,
/// while no fault was injected. So is a time limit that was exceeded, if neither a guest nor a core
/// can make the site exceed it. A core is not to blame for what it could not do because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFailure {
    /// When it happened.
    pub at: Timestamp,
    /// The site's error.
    pub error: PlatformError,
}
