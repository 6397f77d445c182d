//! The constants of the protocol, and the messages that belong to neither interface: the handshake,
//! the clock and cancellation.

use std::time::Duration;

use contract::{SiteId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::code;
use crate::id::Id;
use crate::method::Method;

/// The version of the protocol. Minor versions only add to it.
pub const VERSION: &str = "1.0";

/// The longest message, in bytes, without its line feed. A longer one closes the connection.
pub const LONGEST_MESSAGE: usize = 16 << 20;

/// The time in which a core must send its first message, and then complete the handshake.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(30);

/// The time in which a core must answer every call except those that wait for something
/// (`watch_job`, `watch_points`, `watch_health`), by the host's clock.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// The most requests of one side that the other side has not yet answered.
pub const MOST_OPEN_REQUESTS: usize = 4096;

/// The most notifications of one connection that the receiver does not know. It ignores them, but
/// not an endless stream of them.
pub const MOST_UNKNOWN_NOTIFICATIONS: u64 = 10_000;

/// Environment variable with the path of the Unix socket on which the suite listens.
pub const SOCKET_VARIABLE: &str = "ROUNDTRIP_CORE_SOCKET";

/// Environment variable with the directory for the core's state. A core that is started again with
/// the same directory continues.
pub const STATE_VARIABLE: &str = "ROUNDTRIP_CORE_STATE_DIR";

/// Source of the time in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Time {
    /// The host's clock.
    System,
    /// The suite's virtual clock: `clock.now` and `clock.sleep_until`.
    Virtual,
}

/// Parameters of `suite.connect`, the first message of a core.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connect {
    /// The version of the protocol that the core speaks, such as `1.0`.
    pub protocol: String,
    /// Name of the core, for reports.
    pub name: String,
    /// Version of the core, for reports.
    pub version: String,
    /// The sources of time that the core can use.
    pub time: Vec<Time>,
}

/// Result of `suite.connect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connected {
    /// The version of the protocol that the suite speaks.
    pub protocol: String,
    /// The source of time of this connection.
    pub time: Time,
    /// The time.
    pub now: Timestamp,
    /// The directory for the core's state. A core that finds the state of an earlier one there
    /// continues with it.
    pub state_dir: String,
    /// The sites that the core replicates between.
    pub sites: Vec<SiteId>,
    /// Id of the suite's run.
    pub run: String,
}

impl Method for Connect {
    const NAME: &'static str = "suite.connect";
    type Result = Connected;
}

/// Parameters of `clock.now`: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Now {}

impl Method for Now {
    const NAME: &'static str = "clock.now";
    type Result = Timestamp;
}

/// Parameters of `clock.sleep_until`, which is answered when that time has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SleepUntil {
    /// The time.
    pub time: Timestamp,
}

impl Method for SleepUntil {
    const NAME: &'static str = "clock.sleep_until";
    const WAITS: bool = true;
    type Result = ();
}

/// Parameters of `rpc.discover`: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Discover {}

impl Method for Discover {
    const NAME: &'static str = "rpc.discover";
    type Result = serde_json::Value;
}

/// The notification with which the sender of a request says that it no longer wants the answer.
pub const CANCEL: &str = "rpc.cancel";

/// Parameters of [`CANCEL`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cancel {
    /// Id of the request.
    pub id: Id,
}

/// The notification with which a core says that it has no work in progress.
pub const IDLE: &str = "clock.idle";

/// Parameters of [`IDLE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Idle {
    /// How many messages of this connection the core has received and handled.
    pub received: u64,
}

/// The time in which a core in virtual time must become idle after a message, by the host's clock.
pub const IDLE_WITHIN: Duration = Duration::from_secs(60);

/// The notification with which the suite tells a core in virtual time that the time has changed. It
/// comes before the next other message, so that a core need not ask.
pub const TIME: &str = "clock.time";

/// Parameters of [`TIME`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeIs {
    /// The time.
    pub time: Timestamp,
}

/// Whether a peer that speaks this version can be understood: its major version is ours.
#[must_use]
pub fn is_compatible(version: &str) -> bool {
    let major = |version: &str| version.split('.').next().and_then(|text| text.parse::<u32>().ok());
    major(version).is_some() && major(version) == major(VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_major_version_counts() {
        for (version, fits) in [("1.0", true), ("1.7", true), ("1", true), ("2.0", false), ("", false)] {
            assert_eq!(is_compatible(version), fits, "{version}");
        }
    }
}
