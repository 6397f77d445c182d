//! Digests of the files that a disk is judged by, so that evidence that was altered afterwards is
//! noticed even where the verdict does not depend on it.

use anyhow::{Context as _, Result};
use harness::oracle::{RawSource, SECTOR_BYTES, SectorSource, WriteLog};

use crate::outcome::DiskDigests;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// Content that a disk may also have as a hole.
static ZEROES: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// Digests of the files of one disk.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn of_evidence(base: &RawSource, log: &WriteLog, recovered: &RawSource) -> Result<DiskDigests> {
    Ok(DiskDigests {
        base: of_disk(base).context("read the base")?,
        log: of_log(log).context("read the write log")?,
        recovered: of_disk(recovered).context("read the recovered disk")?,
    })
}

/// The digest of a disk's size and content. It does not depend on where the file has holes.
fn of_disk(disk: &RawSource) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&disk.stored_bytes().to_le_bytes());
    let bytes = disk.bytes();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while let Some(data) = disk.next_data(at)?.filter(|data| data.end > at) {
        // Chunks begin at multiples of their size, wherever the file system says that data begins.
        let start = data.start.max(at) / CHUNK_BYTES as u64 * CHUNK_BYTES as u64;
        let length = usize::try_from(bytes - start).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        disk.read_at(start, &mut chunk[..length])?;
        if chunk[..length] != ZEROES[..length] {
            hasher.update(&start.to_le_bytes());
            hasher.update(&chunk[..length]);
        }
        at = start + length as u64;
    }
    Ok(hasher.finalize().to_string())
}

/// The digest of all writes of a log, in order, and of the flushes between them. A flush after the
/// last write is left out, because it may have been logged after the disk was judged.
fn of_log(log: &WriteLog) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut data = Vec::new();
    for entry in log.entries() {
        let kind = u64::from(entry.is_discard()) | u64::from(entry.is_fua()) << 1;
        for number in [entry.sector, entry.sectors, kind] {
            hasher.update(&number.to_le_bytes());
        }
        if !entry.is_discard() {
            data.resize((entry.sectors * SECTOR_BYTES) as usize, 0);
            log.read_data(entry, 0, &mut data)?;
            hasher.update(&data);
        }
    }
    for flush in log.barriers().iter().filter(|flush| flush.0 < log.len()) {
        hasher.update(&flush.0.to_le_bytes());
    }
    Ok(hasher.finalize().to_string())
}
