//! Why a command ended early, as one line for a person and one code for a machine.

use std::fmt;

/// Wrong usage: an unknown word or option.
pub const USAGE: u8 = 2;
/// Infrastructure: no verdict could be reached.
pub const INFRASTRUCTURE: u8 = 3;
/// Ended by Ctrl-C, as shells report it.
pub const INTERRUPTED: u8 = 130;

/// An end with a reason: what was tried, what was found, what to do next.
#[derive(Debug)]
pub struct ExitError {
    /// The exit code of the command.
    pub code: u8,
    /// One line for the person, or a short list.
    pub line: String,
}

impl fmt::Display for ExitError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.line)
    }
}

impl std::error::Error for ExitError {}

/// Wrong usage.
pub fn usage(line: impl Into<String>) -> anyhow::Error {
    ExitError { code: USAGE, line: line.into() }.into()
}

/// Something on this host is missing or broken.
pub fn infrastructure(line: impl Into<String>) -> anyhow::Error {
    ExitError { code: INFRASTRUCTURE, line: line.into() }.into()
}

/// The exit code an error stands for: everything unforeseen is infrastructure, never a verdict.
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<ExitError>().map_or(INFRASTRUCTURE, |stop| stop.code)
}
