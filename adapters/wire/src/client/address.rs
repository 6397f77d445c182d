//! How a core is opened.

use std::path::PathBuf;
use std::str::FromStr;

/// The core to open: a program, or a socket at which one listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreAddress {
    /// A program that is started for every connection.
    Program {
        /// The program, and its arguments.
        words: Vec<String>,
    },
    /// A core that is running: it accepts connections at this Unix socket.
    Socket {
        /// The path.
        path: PathBuf,
    },
}

/// A text that names no core.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// There is nothing in it.
    #[error("the core's command is empty")]
    Empty,
    /// It cannot be split into words.
    #[error("the core's command cannot be split into words: {0}")]
    Quotes(String),
}

impl FromStr for CoreAddress {
    type Err = BadAddress;

    /// `unix:PATH`, or a command line. It is split into words as a shell does, but nothing else in
    /// it has a meaning.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(BadAddress::Empty)
            } else {
                Ok(Self::Socket { path: path.into() })
            };
        }
        let words = shell_words::split(text).map_err(|error| BadAddress::Quotes(error.to_string()))?;
        if words.is_empty() { Err(BadAddress::Empty) } else { Ok(Self::Program { words }) }
    }
}

impl std::fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program { words } => f.write_str(&shell_words::join(words)),
            Self::Socket { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_is_parsed() {
        for text in ["./my-core", "python3 core.py '--name=a b'", "unix:/run/core.sock"] {
            assert_eq!(text.parse::<CoreAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for odd in ["", "  ", "unix:", "'open"] {
            assert!(odd.parse::<CoreAddress>().is_err(), "{odd:?}");
        }
    }
}
