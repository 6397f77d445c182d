//! Exit codes, and the error that ends a command with one line for a person and one code for a
//! machine.

use std::fmt;

/// The core broke a rule.
pub const RULE_BROKEN: u8 = 1;
/// Every scenario passed, and one of them exceeded a time bound.
pub const SLOW: u8 = 2;
/// No verdict could be reached: this host, its set-up or the suite itself failed.
pub const INFRASTRUCTURE: u8 = 3;
/// Wrong usage: an unknown command, option or value (`EX_USAGE` of `sysexits.h`).
pub const USAGE: u8 = 64;
/// Ended by Ctrl-C, as shells report it.
pub const INTERRUPTED: u8 = 130;

/// Ends a command early. The message says what was tried, what was found and what to do next.
#[derive(Debug)]
pub struct ExitError {
    /// The exit code of the command.
    pub code: u8,
    /// One line for the person, or a short list.
    pub message: String,
}

impl fmt::Display for ExitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}

/// The caller used the command wrongly.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    ExitError { code: USAGE, message: message.into() }.into()
}

/// Something on this host is missing or broken.
pub fn infrastructure(message: impl Into<String>) -> anyhow::Error {
    ExitError { code: INFRASTRUCTURE, message: message.into() }.into()
}

/// The exit code of an error. An unforeseen error is infrastructure: it never looks like a verdict.
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<ExitError>().map_or(INFRASTRUCTURE, |exit| exit.code)
}
