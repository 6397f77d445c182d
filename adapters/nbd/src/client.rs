//! A connection to one export.

use std::io;

use crate::extent::Extent;
use crate::link::Link;

/// Largest single request. Servers must accept 32 MiB; smaller requests limit memory and latency.
pub const MAX_REQUEST: usize = 2 * 1024 * 1024;
/// An NBD error, with the message of the server or of libnbd.
#[derive(Clone, Debug, thiserror::Error)]
#[error("NBD {operation} on {uri}: {message}")]
pub struct Error {
    /// The operation.
    pub operation: &'static str,
    /// The URI.
    pub uri: String,
    /// The message.
    pub message: String,
    /// The operating system's error number, 0 if there is none.
    pub errno: i32,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = io::Error::from_raw_os_error(error.errno).kind();
        io::Error::new(kind, error)
    }
}

/// A connection to one export.
#[derive(Debug)]
pub struct Client {
    link: Link,
    uri: String,
    size: u64,
}

impl Client {
    /// Connects to `uri`, such as `nbd+unix:///export?socket=/run/x.sock`.
    ///
    /// # Errors
    /// The server cannot be reached or does not know the export.
    pub fn connect(uri: &str) -> Result<Self, Error> {
        Self::connect_with(uri, &[])
    }

    /// Connects and negotiates meta contexts, for use with [`Client::extents`].
    ///
    /// # Errors
    /// As [`Client::connect`]; also if the server does not offer one of the contexts.
    pub fn connect_with(uri: &str, contexts: &[&str]) -> Result<Self, Error> {
        let fail = |(operation, (message, errno))| Error { operation, uri: uri.to_owned(), message, errno };
        let (link, size) = Link::open(uri, contexts).map_err(fail)?;
        Ok(Self { link, uri: uri.to_owned(), size })
    }

    /// Size of the export in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads `buffer.len()` bytes at `offset`.
    ///
    /// # Errors
    /// The range is outside the export, or the server failed.
    pub fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let mut at = offset;
        for part in buffer.chunks_mut(MAX_REQUEST) {
            self.link.read(at, part).map_err(|e| self.error("read", e))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Writes `data` at `offset`. Durable only after [`Client::flush`].
    ///
    /// # Errors
    /// The export is read-only or full, the range is outside of it, or the server failed.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut at = offset;
        for part in data.chunks(MAX_REQUEST) {
            self.link.write(at, part).map_err(|e| self.error("write", e))?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Reads several parts, each with its offset and buffer, with all requests in flight at once.
    ///
    /// # Errors
    /// As [`Client::read`], for any of the parts; then the buffers may hold anything.
    pub fn read_each<'a>(
        &mut self,
        parts: impl IntoIterator<Item = (u64, &'a mut [u8])>,
    ) -> Result<(), Error> {
        let requests = parts
            .into_iter()
            .flat_map(|(offset, buffer)| offsets(offset).zip(buffer.chunks_mut(MAX_REQUEST)));
        self.link.read_each(requests).map_err(|e| self.error("read", e))
    }

    /// Writes several parts, each with its offset and data, with all requests in flight at once.
    /// Parts must not overlap. Durable only after [`Client::flush`].
    ///
    /// # Errors
    /// As [`Client::write`], for any of the parts; then any of them may be written, and in part.
    pub fn write_each<'a>(&mut self, parts: impl IntoIterator<Item = (u64, &'a [u8])>) -> Result<(), Error> {
        let requests =
            parts.into_iter().flat_map(|(offset, data)| offsets(offset).zip(data.chunks(MAX_REQUEST)));
        self.link.write_each(requests).map_err(|e| self.error("write", e))
    }

    /// Makes `length` bytes at `offset` read as zeroes.
    ///
    /// # Errors
    /// As [`Client::write`].
    pub fn zero(&mut self, offset: u64, length: u64) -> Result<(), Error> {
        let step = 1 << 30;
        let mut done = 0;
        while done < length {
            let count = step.min(length - done);
            self.link.zero(offset + done, count).map_err(|e| self.error("zero", e))?;
            done += count;
        }
        Ok(())
    }

    /// Whether several connections to this export are safe: each sees what another wrote, and a
    /// flush on one makes the writes of all durable.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn can_multi_conn(&self) -> Result<bool, Error> {
        self.link.can_multi_conn().map_err(|e| self.error("features", e))
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The server failed.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.link.flush().map_err(|e| self.error("flush", e))
    }

    /// The whole export in a meta context that was negotiated at connection, in order; adjacent
    /// extents with equal flags are joined.
    ///
    /// # Errors
    /// The server failed, or its answer makes no progress.
    pub fn extents(&mut self, context: &str) -> Result<Vec<Extent>, Error> {
        self.link.extents(context, self.size).map_err(|e| self.error("block status", e))
    }

    fn error(&self, operation: &'static str, (message, errno): (String, i32)) -> Error {
        Error { operation, uri: self.uri.clone(), message, errno }
    }
}

/// The offsets of the requests of a part that begins at `offset`.
fn offsets(offset: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |number| offset + number * MAX_REQUEST as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_an_error_that_names_it() {
        let error = Client::connect("nbd+unix:///x?socket=/nonexistent/socket").map(|c| c.size());
        let text = error.expect_err("no server listens").to_string();
        assert!(text.contains("/nonexistent/socket") && text.contains("connect"), "{text}");
    }
}
