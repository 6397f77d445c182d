//! What a server serves.

/// Error numbers of the NBD protocol.
pub mod errno {
    /// The disk is read-only.
    pub const EPERM: u32 = 1;
    /// The medium failed.
    pub const EIO: u32 = 5;
    /// The request is malformed, or outside the disk.
    pub const EINVAL: u32 = 22;
    /// There is no space left.
    pub const ENOSPC: u32 = 28;
    /// The disk is no longer served.
    pub const ESHUTDOWN: u32 = 108;
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// One of [`errno`].
    pub errno: u32,
    /// What was tried and what was found. Only clients with structured replies receive it.
    pub message: String,
}

impl Refused {
    /// A refusal with this error number and message.
    pub fn new(errno: u32, message: impl Into<String>) -> Self {
        Self { errno, message: message.into() }
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::new(errno::EIO, error.to_string())
    }
}

/// A range: its length in bytes, and its flags in a meta context.
pub type Run = (u64, u32);

/// What a disk tells its clients. It must not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Size in bytes.
    pub size: u64,
    /// Whether it can be written.
    pub writable: bool,
    /// Whether several connections are safe: each sees what another wrote, and a flush on one makes
    /// the writes of all durable.
    pub multi_conn: bool,
    /// Names of the meta contexts that it offers.
    pub contexts: Vec<String>,
}

/// A disk as one client opened it. Ranges are inside the disk and not empty, and only a disk that
/// is writable is asked to change.
pub trait Disk {
    /// What the disk tells its clients.
    fn features(&self) -> Features;

    /// Fills `buffer` from byte `offset`.
    ///
    /// # Errors
    /// The content cannot be read.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Refused>;

    /// The ranges from byte `offset` on in a context that the disk offers, in order and without
    /// gaps. They may cover less than `length` bytes, but not nothing.
    ///
    /// # Errors
    /// They cannot be determined.
    fn status(&mut self, context: &str, offset: u64, length: u64) -> Result<Vec<Run>, Refused>;

    /// Writes `data` at byte `offset`.
    ///
    /// # Errors
    /// The disk is read-only or full, or the medium failed.
    fn write(&mut self, _offset: u64, _data: &[u8]) -> Result<(), Refused> {
        Err(read_only())
    }

    /// Makes `length` bytes at `offset` read as zeroes. A trim does the same.
    ///
    /// # Errors
    /// As [`Disk::write`].
    fn zero(&mut self, _offset: u64, _length: u64) -> Result<(), Refused> {
        Err(read_only())
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The medium failed.
    fn flush(&mut self) -> Result<(), Refused> {
        Ok(())
    }
}

pub(crate) fn read_only() -> Refused {
    Refused::new(errno::EPERM, "the disk is read-only")
}

/// The disks of a server.
pub trait Disks {
    /// The names of all disks.
    fn names(&self) -> Vec<String>;

    /// Opens a disk; `None`: there is none of this name.
    fn open(&self, name: &str) -> Option<Box<dyn Disk + '_>>;
}
