//! Lines of bounded length.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::error::WireError;
use crate::protocol::LONGEST_MESSAGE;

/// Reads lines that are at most [`LONGEST_MESSAGE`] long.
pub(crate) struct Lines {
    from: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    line: Vec<u8>,
    peeked: bool,
}

impl Lines {
    pub(crate) fn new(from: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let from: Box<dyn AsyncRead + Send + Unpin> = Box::new(from);
        Self { from: BufReader::with_capacity(1 << 16, from), line: Vec::new(), peeked: false }
    }

    /// Returns the next line, which the next call of [`Self::next`] returns as well.
    pub(crate) async fn peek(&mut self) -> Result<&[u8], WireError> {
        if !self.peeked {
            self.read().await?;
            self.peeked = true;
        }
        Ok(&self.line)
    }

    /// Returns the next line, without its line feed.
    pub(crate) async fn next(&mut self) -> Result<&[u8], WireError> {
        if !std::mem::take(&mut self.peeked) {
            self.read().await?;
        }
        Ok(&self.line)
    }

    /// What is read from, with what was read ahead.
    pub(crate) fn into_inner(self) -> impl AsyncRead + Send + Unpin {
        self.from
    }

    async fn read(&mut self) -> Result<(), WireError> {
        self.line.clear();
        loop {
            let found = self.from.fill_buf().await.map_err(broken)?;
            if found.is_empty() {
                return Err(WireError::Closed { within_message: !self.line.is_empty() });
            }
            let end = found.iter().position(|byte| *byte == b'\n');
            let part = end.unwrap_or(found.len());
            if self.line.len() + part > LONGEST_MESSAGE {
                return Err(WireError::TooLong);
            }
            self.line.extend_from_slice(&found[..part]);
            self.from.consume(part + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

/// A connection that the peer has reset is as good as closed.
fn broken(error: std::io::Error) -> WireError {
    match error.kind() {
        std::io::ErrorKind::ConnectionReset => WireError::Closed { within_message: false },
        _ => WireError::Broken(Arc::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_at_line_feeds_and_have_a_limit() {
        let mut lines = Lines::new(&b"one\n\nthree"[..]);
        assert_eq!(lines.peek().await.unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap(), b"");
        assert!(matches!(lines.next().await, Err(WireError::Closed { within_message: true })));
        let mut endless = Lines::new(tokio::io::repeat(b'x'));
        assert!(matches!(endless.next().await, Err(WireError::TooLong)));
    }
}
