//! The two kinds of connection: to a server through libnbd, or to an export inside this process.

use crate::extent::{Extent, push};
use crate::ffi::{Failure, Handle};
use crate::memory::Connection;

/// Most bytes that one block status request covers.
const STATUS_STEP: u64 = 1 << 30;

/// An operation and its failure.
type Tried = (&'static str, Failure);

#[derive(Debug)]
pub(crate) enum Link {
    Server(Handle),
    Memory(Connection),
}

impl Link {
    /// Connects and negotiates meta contexts, all of which must be offered. Also returns the size
    /// of the export in bytes.
    pub(crate) fn open(uri: &str, contexts: &[&str]) -> Result<(Self, u64), Tried> {
        if Connection::wanted(uri) { open_memory(uri, contexts) } else { open_server(uri, contexts) }
    }

    pub(crate) fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Failure> {
        match self {
            Self::Server(handle) => handle.pread(buffer, offset),
            Self::Memory(connection) => connection.read(offset, buffer),
        }
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Server(handle) => handle.pwrite(data, offset),
            Self::Memory(connection) => connection.write(offset, data),
        }
    }

    /// Reads all parts, from a server with all requests in flight at once.
    pub(crate) fn read_each<'a>(
        &mut self,
        mut parts: impl Iterator<Item = (u64, &'a mut [u8])>,
    ) -> Result<(), Failure> {
        match self {
            Self::Server(handle) => handle.pread_each(parts),
            Self::Memory(connection) => parts.try_for_each(|(at, buffer)| connection.read(at, buffer)),
        }
    }

    /// Writes all parts, to a server with all requests in flight at once.
    pub(crate) fn write_each<'a>(
        &mut self,
        mut parts: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> Result<(), Failure> {
        match self {
            Self::Server(handle) => handle.pwrite_each(parts),
            Self::Memory(connection) => parts.try_for_each(|(at, data)| connection.write(at, data)),
        }
    }

    pub(crate) fn zero(&mut self, offset: u64, length: u64) -> Result<(), Failure> {
        match self {
            Self::Server(handle) => handle.zero(length, offset),
            Self::Memory(connection) => connection.zero(offset, length),
        }
    }

    /// Whether several connections to the export see each other's writes, and a flush on one is a
    /// flush of all.
    pub(crate) fn can_multi_conn(&self) -> Result<bool, Failure> {
        match self {
            Self::Server(handle) => handle.can_multi_conn(),
            Self::Memory(connection) => connection.can_multi_conn(),
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Server(handle) => handle.flush(),
            Self::Memory(connection) => connection.flush(),
        }
    }

    /// The first `size` bytes in one context, in order; adjacent extents with equal flags are
    /// joined.
    pub(crate) fn extents(&mut self, context: &str, size: u64) -> Result<Vec<Extent>, Failure> {
        match self {
            Self::Server(handle) => server_extents(handle, context, size),
            Self::Memory(connection) => connection.extents(context),
        }
    }
}

fn open_server(uri: &str, contexts: &[&str]) -> Result<(Link, u64), Tried> {
    let tried = |operation| move |failure| (operation, failure);
    let handle = Handle::new().map_err(tried("create"))?;
    for context in contexts {
        handle.add_meta_context(context).map_err(tried("meta context"))?;
    }
    handle.connect_uri(uri).map_err(tried("connect"))?;
    for context in contexts {
        if !handle.can_meta_context(context).map_err(tried("meta context"))? {
            return Err(not_offered(context));
        }
    }
    let size = handle.size().map_err(tried("size"))?;
    Ok((Link::Server(handle), size))
}

fn open_memory(uri: &str, contexts: &[&str]) -> Result<(Link, u64), Tried> {
    let tried = |operation| move |failure| (operation, failure);
    let mut connection = Connection::open(uri).map_err(tried("connect"))?;
    for context in contexts {
        if !connection.negotiate(context).map_err(tried("meta context"))? {
            return Err(not_offered(context));
        }
    }
    let size = connection.size().map_err(tried("size"))?;
    Ok((Link::Memory(connection), size))
}

fn not_offered(context: &str) -> Tried {
    ("meta context", (format!("the server does not offer {context}"), 0))
}

fn server_extents(handle: &mut Handle, context: &str, size: u64) -> Result<Vec<Extent>, Failure> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < size {
        let before = at;
        for extent in handle.block_status(STATUS_STEP.min(size - at), at, context)? {
            // A server may describe more than it was asked for.
            let length = extent.length.min(size - at);
            push(&mut all, Extent { offset: at, length, flags: extent.flags });
            at += length;
        }
        if at == before {
            return Err(("the answer contains no extents".to_owned(), 0));
        }
    }
    Ok(all)
}
