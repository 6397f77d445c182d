//! A small safe wrapper over the C library libnbd: as much of NBD as replication and the oracle need.
//!
//! Streams of blocks cross between platform, core and suite as NBD URIs, so this is the one door through
//! which bytes of disks pass. All offsets and lengths are in bytes. URIs that begin with `nbd+memory:` name
//! exports of this very process; see [`serve`].

mod ffi;
mod link;
pub mod memory;

use std::io;

use link::Link;

pub use memory::{Export, Refusal, Served, serve};

/// Largest single request. Servers must accept 32 MiB; smaller ones keep memory and latency low.
pub const MAX_REQUEST: usize = 2 * 1024 * 1024;
/// Meta context that tells holes and zeroes from data.
pub const ALLOCATION: &str = "base:allocation";

/// What went wrong, with the server's or libnbd's own words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("NBD {operation} on {uri}: {message}")]
pub struct Error {
    /// What was tried.
    pub operation: &'static str,
    /// Where.
    pub uri: String,
    /// What was found.
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

/// A run of bytes that share the same flags in one meta context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// The context's flags. For [`ALLOCATION`]: 1 hole, 2 reads as zero. For a dirty bitmap: 1 dirty.
    pub flags: u64,
}

impl Extent {
    /// Whether the run reads as zeroes, in [`ALLOCATION`].
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Whether the run is dirty, in a `qemu:dirty-bitmap:` context.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.flags & 1 != 0
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

    /// Connects and asks for meta contexts, to be read with [`Client::extents`].
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

    /// Whether several connections to this export are safe: each sees what another wrote, and one's flush makes
    /// durable what any of them wrote.
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

    /// The whole export in one meta context asked for at connection, in order, neighbours of equal flags
    /// joined.
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

/// Adds a run, joined to its neighbour where the flags are equal.
fn push(all: &mut Vec<Extent>, extent: Extent) {
    match all.last_mut() {
        _ if extent.length == 0 => {}
        Some(last) if last.flags == extent.flags && last.offset + last.length == extent.offset => {
            last.length += extent.length;
        }
        _ => all.push(extent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_is_an_error_that_names_it() {
        let error = Client::connect("nbd+unix:///x?socket=/nonexistent/socket").map(|c| c.size());
        let text = error.expect_err("nobody listens").to_string();
        assert!(text.contains("/nonexistent/socket") && text.contains("connect"), "{text}");
    }

    #[test]
    fn neighbours_with_equal_flags_are_joined() {
        let mut all = Vec::new();
        for (offset, length, flags) in [(0, 4, 0), (4, 4, 0), (8, 0, 1), (8, 4, 1)] {
            push(&mut all, Extent { offset, length, flags });
        }
        let lengths: Vec<_> = all.iter().map(|e| (e.offset, e.length, e.flags)).collect();
        assert_eq!(lengths, [(0, 8, 0), (8, 4, 1)]);
    }
}
