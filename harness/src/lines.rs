//! Lines from a peer that is not trusted, such as a program in a guest: their length is bounded.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Most bytes of a line from a guest. The longest message of the witness and of the agent has less
/// than 4 KiB.
pub const LONGEST_LINE: usize = 256 << 10;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes, without the line feed.
    Whole(&'a [u8]),
    /// It is too long. Its bytes are dropped.
    TooLong,
}

/// Reads lines of which none takes more memory than [`LONGEST_LINE`].
pub(crate) struct BoundedLines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    most: usize,
}

impl<R: AsyncRead + Unpin> BoundedLines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self::with_limit(from, LONGEST_LINE)
    }

    pub(crate) fn with_limit(from: R, most: usize) -> Self {
        Self { from: BufReader::new(from), line: Vec::new(), most }
    }

    /// The next line; `None` if the peer has closed the connection, perhaps within a line.
    pub(crate) async fn next(&mut self) -> Option<Line<'_>> {
        self.line.clear();
        let mut too_long = false;
        loop {
            let found = self.from.fill_buf().await.ok().filter(|found| !found.is_empty())?;
            let end = found.iter().position(|byte| *byte == b'\n');
            let part = &found[..end.unwrap_or(found.len())];
            too_long |= self.line.len() + part.len() > self.most;
            if !too_long {
                self.line.extend_from_slice(part);
            }
            let read = part.len() + usize::from(end.is_some());
            self.from.consume(read);
            if end.is_some() {
                return Some(if too_long { Line::TooLong } else { Line::Whole(&self.line) });
            }
        }
    }
}

/// Reads one line of at most [`LONGEST_LINE`] bytes, the answer of a peer.
///
/// # Errors
/// The connection broke, or the line is longer or not UTF-8.
pub async fn one_line(from: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(from.take(LONGEST_LINE as u64)).read_line(&mut line).await?;
    if line.len() == LONGEST_LINE && !line.ends_with('\n') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the answer has a line of more than {LONGEST_LINE} bytes"),
        ));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_dropped_and_the_next_is_read() {
        let mut lines = BoundedLines::with_limit(&b"one\n\ntoo long\nfour\nend"[..], 4);
        assert_eq!(lines.next().await, Some(Line::Whole(b"one")));
        assert_eq!(lines.next().await, Some(Line::Whole(b"")));
        assert_eq!(lines.next().await, Some(Line::TooLong));
        assert_eq!(lines.next().await, Some(Line::Whole(b"four")));
        assert_eq!(lines.next().await, None);
    }

    #[tokio::test]
    async fn an_endless_line_takes_no_more_memory_than_the_longest() {
        let endless = tokio::io::repeat(b'x').take(64 << 20);
        let mut lines = BoundedLines::new(endless.chain(&b"\n"[..]));
        assert_eq!(lines.next().await, Some(Line::TooLong));
        assert!(lines.line.capacity() <= 2 * LONGEST_LINE);
        assert!(one_line(tokio::io::repeat(b'x')).await.is_err());
        assert_eq!(one_line(&b"answer\nmore"[..]).await.unwrap(), "answer\n");
    }
}
