//! How a core is opened.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The core to open: a program, or a socket at which one listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreAddress {
    /// A program that is started for every connection.
    Program {
        /// The program, and its arguments.
        words: Vec<String>,
        /// The directory in which it starts; `None`: that of this process.
        dir: Option<PathBuf>,
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
        if words.is_empty() { Err(BadAddress::Empty) } else { Ok(Self::Program { words, dir: None }) }
    }
}

impl CoreAddress {
    /// The same address, with relative paths in it meant from this directory.
    #[must_use]
    pub fn seen_from(self, from: &Path) -> Self {
        match self {
            Self::Program { words, .. } => Self::Program { words, dir: Some(from.to_owned()) },
            Self::Socket { path } => Self::Socket { path: from.join(path) },
        }
    }
}

impl std::fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program { words, .. } => f.write_str(&shell_words::join(words)),
            Self::Socket { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_meant_from_the_directory_of_the_caller() {
        let from =
            |text: &str| text.parse::<CoreAddress>().map(|address| address.seen_from(Path::new("/work")));
        assert_eq!(from("unix:core.sock"), Ok(CoreAddress::Socket { path: "/work/core.sock".into() }));
        assert_eq!(from("unix:/run/a"), Ok(CoreAddress::Socket { path: "/run/a".into() }));
        let program = CoreAddress::Program { words: vec!["./a".to_owned()], dir: Some("/work".into()) };
        assert_eq!(from("./a"), Ok(program));
    }

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
