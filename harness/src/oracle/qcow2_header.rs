//! Validates a qcow2 header before the crate `qcow2-rs` parses it.
//!
//! That crate trusts the sizes it reads: a hostile header makes it allocate without bound or shift
//! out of range. A header that passes this check describes tables inside the file and within QEMU's
//! own limits.

use std::io;

use super::SECTOR_BYTES;

/// Length of the fixed header of version 3, which is read first.
pub(super) const HEADER_BYTES: usize = 104;

const MAGIC: u32 = 0x5146_49fb;
const MAX_TABLE_BYTES: u64 = 32 << 20;
const MAX_REFCOUNT_BYTES: u64 = 8 << 20;
const MAX_BACKING_NAME: u32 = 1023;

/// The part of a header that is validated.
#[derive(Debug)]
pub(super) struct Header<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    file_bytes: u64,
}

impl<'a> Header<'a> {
    /// Wraps the first bytes of a file of `file_bytes` bytes.
    pub fn new(bytes: &'a [u8; HEADER_BYTES], file_bytes: u64) -> Self {
        Self { bytes, file_bytes }
    }

    fn u32_at(&self, at: usize) -> u32 {
        self.bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    fn u64_at(&self, at: usize) -> u64 {
        u64::from(self.u32_at(at)) << 32 | u64::from(self.u32_at(at + 4))
    }

    /// Size of the disk in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.u64_at(24)
    }

    /// Size of a cluster in bytes; valid only after [`Self::check`].
    pub fn cluster_bytes(&self) -> u64 {
        1u64.checked_shl(self.u32_at(20)).unwrap_or(0)
    }

    /// Returns why the image cannot be read.
    pub fn check(&self) -> Result<(), String> {
        self.check_kind()?;
        self.check_tables()?;
        self.check_backing()
    }

    fn check_kind(&self) -> Result<(), String> {
        if self.u32_at(0) != MAGIC {
            return Err("not a qcow2 image".into());
        }
        match (self.u32_at(4), self.u32_at(20), self.u64_at(72)) {
            (3, 12..=21, 0) => {}
            (3, 12..=21, features) => return Err(unread_features(features)),
            (3, bits, _) => return Err(format!("clusters of 2^{bits} bytes; 4 KiB to 2 MiB are read")),
            (version, ..) => return Err(format!("qcow2 version {version}; only version 3 is read")),
        }
        match (self.u32_at(32), self.u32_at(96), self.u32_at(100)) {
            (0, 0..=6, 104..=4096) => Ok(()),
            (0, 0..=6, length) => Err(format!("a header of {length} bytes")),
            (0, order, _) => Err(format!("refcounts of 2^{order} bits")),
            (method, ..) => Err(format!("encrypted by method {method}")),
        }
    }

    fn check_tables(&self) -> Result<(), String> {
        let (disk, cluster) = (self.disk_bytes(), self.cluster_bytes());
        if disk == 0 || !disk.is_multiple_of(SECTOR_BYTES) {
            return Err(format!("a disk of {disk} bytes"));
        }
        let needed = disk.div_ceil(cluster).div_ceil(cluster / 8);
        let listed = u64::from(self.u32_at(36));
        if listed < needed || needed * 8 > MAX_TABLE_BYTES || listed * 8 > MAX_TABLE_BYTES {
            return Err(format!(
                "a top table of {listed} entries for a disk of {disk} bytes, which needs {needed}"
            ));
        }
        self.check_inside("top table", self.u64_at(40), listed * 8)?;
        let refcounts = u64::from(self.u32_at(56)) * cluster;
        if refcounts == 0 || refcounts > MAX_REFCOUNT_BYTES {
            return Err(format!("a refcount table of {refcounts} bytes"));
        }
        self.check_inside("refcount table", self.u64_at(48), refcounts)
    }

    fn check_inside(&self, what: &str, offset: u64, len: u64) -> Result<(), String> {
        let aligned = offset.is_multiple_of(self.cluster_bytes()) && offset > 0;
        match offset.checked_add(len) {
            Some(end) if aligned && end <= self.file_bytes => Ok(()),
            _ => Err(format!("a {what} of {len} bytes at byte {offset} of a file of {}", self.file_bytes)),
        }
    }

    fn check_backing(&self) -> Result<(), String> {
        let (offset, len) = (self.u64_at(8), self.u32_at(16));
        // The parser reads at most 64 KiB of header.
        let limit = self.cluster_bytes().min(1 << 16);
        match offset.checked_add(u64::from(len)) {
            Some(0) => Ok(()),
            Some(end) if offset > 0 && len > 0 && len <= MAX_BACKING_NAME && end < limit => Ok(()),
            _ => Err(format!("a backing name of {len} bytes at byte {offset}")),
        }
    }
}

fn unread_features(features: u64) -> String {
    const NAMES: [&str; 5] =
        ["dirty", "corrupt", "external data file", "zstd compression", "extended L2 entries"];
    let name = NAMES.get(features.trailing_zeros() as usize).unwrap_or(&"unknown");
    format!("incompatible features {features:#x} ({name}) that this reader does not read")
}

/// An error for invalid bytes in an image.
pub(super) fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
