//! What can go wrong with a connection. Each error is one line.

use std::sync::Arc;
use std::time::Duration;

use crate::id::Id;
use crate::message::BadMessage;
use crate::protocol::{
    IDLE_WITHIN, LONGEST_MESSAGE, MOST_OPEN_REQUESTS, MOST_UNKNOWN_NOTIFICATIONS, SOCKET_VARIABLE, VERSION,
};

/// Why a connection ended or was never made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WireError {
    /// The command line of the core cannot be split into words.
    #[error("the command {command:?} cannot be split into words: {why}")]
    BadCommand {
        /// The command line.
        command: String,
        /// What is wrong with it.
        why: String,
    },
    /// The core's program cannot be started.
    #[error("the core {program:?} cannot be started: {error}")]
    Start {
        /// The program.
        program: String,
        /// The system's error.
        error: Arc<std::io::Error>,
    },
    /// Nothing accepts connections at the core's socket.
    #[error("no core accepts connections at {path}: {error}")]
    Connect {
        /// The socket.
        path: String,
        /// The system's error.
        error: Arc<std::io::Error>,
    },
    /// This host cannot provide what a connection needs.
    #[error("{what}: {error}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        error: Arc<std::io::Error>,
    },
    /// The core sent no first message in time.
    #[error(
        "the core sent no message within {} s: it must send `suite.connect`, either to the socket that \
         {SOCKET_VARIABLE} names or on its standard output", .0.as_secs()
    )]
    Silent(Duration),
    /// The core's handshake did not end in time.
    #[error("the core did not complete the handshake within {} s", .0.as_secs())]
    Handshake(Duration),
    /// The first message was another one than `suite.connect`.
    #[error("the first message was {method} instead of suite.connect")]
    NotConnect {
        /// Its method.
        method: String,
    },
    /// The parameters of `suite.connect` are wrong.
    #[error("the parameters of suite.connect are wrong: {why}")]
    BadConnect {
        /// What is wrong.
        why: String,
    },
    /// The major versions of the protocol differ.
    #[error("the core speaks version {theirs} of the protocol, the suite {VERSION}")]
    Version {
        /// The version of the core.
        theirs: String,
    },
    /// The suite refused the handshake.
    #[error("the suite refused the connection: {why}")]
    Refused {
        /// Its message.
        why: String,
    },
    /// The peer sent a line that is no message.
    #[error("{0}")]
    BadMessage(#[from] BadMessage),
    /// The peer sent a line that is too long.
    #[error("a message is longer than {} MiB", LONGEST_MESSAGE >> 20)]
    TooLong,
    /// The peer answered a request that was never sent.
    #[error("an answer has the id {0}, which no request had")]
    UnknownAnswer(Id),
    /// The peer answered a request again.
    #[error("a second answer to the request {0}")]
    SecondAnswer(Id),
    /// The peer could not read a message of ours.
    #[error("the other side could not read a message: {0}")]
    Unreadable(String),
    /// The peer used one id for two requests at the same time.
    #[error("the id {0} was used for two requests at the same time")]
    IdInUse(Id),
    /// The peer sends requests without waiting for answers.
    #[error("more than {MOST_OPEN_REQUESTS} requests at the same time")]
    TooManyRequests,
    /// The peer sends notifications that nobody knows.
    #[error("more than {MOST_UNKNOWN_NOTIFICATIONS} unknown notifications; the last is {0}")]
    TooManyNotifications(String),
    /// The peer did not answer in time.
    #[error("no answer to {method} within {} s", within.as_secs())]
    NoAnswer {
        /// The method.
        method: &'static str,
        /// The time limit.
        within: Duration,
    },
    /// A core in virtual time did not become idle.
    #[error(
        "the core did not become idle within {} s: it has not sent `clock.idle` with {sent} messages received",
        IDLE_WITHIN.as_secs()
    )]
    NotIdle {
        /// Number of messages that it was sent.
        sent: u64,
    },
    /// The process of the core ended.
    #[error("the core's process {how}")]
    Exited {
        /// How it ended, and the last line of its log.
        how: String,
    },
    /// The peer closed the connection.
    #[error("the other side closed the connection{}", if *.within_message { " within a message" } else { "" })]
    Closed {
        /// Whether a part of a line was sent.
        within_message: bool,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(Arc<std::io::Error>),
    /// Our side closed the connection.
    #[error("the connection is closed")]
    Ended,
}

impl WireError {
    /// Wraps an error of this host.
    pub(crate) fn host(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Host { what, error: Arc::new(error) }
    }
}
