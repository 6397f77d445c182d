//! Reads changed chunks from the store of a device-mapper snapshot. Before the first write to a
//! chunk the kernel saves the chunk there with its number, so the list of saved chunks is the list
//! of changed ones.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use crate::device::{ALIGN, Buffer};

/// Sectors per chunk, the unit in which the kernel saves and changes are reported.
pub(crate) const CHUNK_SECTORS: u64 = 32;
/// Bytes per chunk.
pub(crate) const CHUNK: u64 = CHUNK_SECTORS * 512;
const MAGIC: u32 = 0x7041_6e53;
const ENTRY_BYTES: usize = 16;
/// Number of chunks before the first list: the header.
const HEADER_CHUNKS: u64 = 1;

/// Numbers of changed chunks.
pub(crate) type Chunks = BTreeSet<u64>;

/// Makes a store look unused, so that the kernel initialises it.
pub(crate) fn wipe(store: &File) -> io::Result<()> {
    Buffer::new(ALIGN as usize).write_zeroes(store, 0, ALIGN as usize)
}

/// The chunks saved in a store of `bytes` bytes; `None` if the store overflowed and is incomplete.
pub(crate) fn read(store: &File, bytes: u64) -> io::Result<Option<Chunks>> {
    let mut buffer = Buffer::new(CHUNK as usize);
    let header = buffer.read(store, bytes, 0, CHUNK as usize)?;
    let word = |at: usize| header[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
    let (magic, valid, chunk) = (word(0), word(4), word(12));
    if magic != MAGIC || u64::from(chunk) != CHUNK_SECTORS {
        return Err(io::Error::other("the snapshot store has no valid header"));
    }
    if valid == 0 {
        return Ok(None);
    }
    let mut chunks = Chunks::new();
    let entries = CHUNK / ENTRY_BYTES as u64;
    // A list is followed by as many chunks as it has entries, then by the next list.
    let mut list = HEADER_CHUNKS;
    while (list + 1) * CHUNK <= bytes {
        let area = buffer.read(store, bytes, list * CHUNK, CHUNK as usize)?;
        if !add_entries(area, &mut chunks) {
            break;
        }
        list += entries + 1;
    }
    Ok(Some(chunks))
}

/// Adds the entries of a list; `false` if it was not full and so is the last one.
fn add_entries(area: &[u8], chunks: &mut Chunks) -> bool {
    for entry in area.chunks_exact(ENTRY_BYTES) {
        let half = |at: usize| entry[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        let (changed, saved_at) = (half(0), half(8));
        if saved_at == 0 {
            return false;
        }
        chunks.insert(changed);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const ENTRIES: u64 = CHUNK / ENTRY_BYTES as u64;

    /// A store as the kernel writes it, with `changed` chunks saved.
    fn store(valid: u32, changed: &[u64]) -> (tempfile::NamedTempFile, u64) {
        let lists = changed.len() as u64 / ENTRIES + 1;
        let bytes = (HEADER_CHUNKS + lists * (ENTRIES + 1)) * CHUNK;
        let mut content = vec![0; bytes as usize];
        for (at, word) in [(0, MAGIC), (4, valid), (8, 1), (12, CHUNK_SECTORS as u32)] {
            content[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        for (index, chunk) in changed.iter().enumerate() {
            let (area, entry) = (index as u64 / ENTRIES, index as u64 % ENTRIES);
            let list = HEADER_CHUNKS + area * (ENTRIES + 1);
            let at = (list * CHUNK + entry * ENTRY_BYTES as u64) as usize;
            content[at..at + 8].copy_from_slice(&chunk.to_le_bytes());
            content[at + 8..at + 16].copy_from_slice(&(list + entry + 1).to_le_bytes());
        }
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&content).expect("written");
        (file, bytes)
    }

    fn read_back(valid: u32, changed: &[u64]) -> Option<Chunks> {
        let (file, bytes) = store(valid, changed);
        read(file.as_file(), bytes).expect("read")
    }

    #[test]
    fn every_saved_chunk_is_a_changed_one() {
        for count in [0, 1, ENTRIES - 1, ENTRIES, ENTRIES + 1, 3 * ENTRIES] {
            let changed: Vec<u64> = (0..count).map(|i| i * 3).collect();
            assert_eq!(read_back(1, &changed), Some(changed.into_iter().collect()), "{count}");
        }
    }

    #[test]
    fn an_overflowed_store_reports_no_changes() {
        assert_eq!(read_back(0, &[1, 2]), None);
    }

    #[test]
    fn an_invalid_store_is_an_error() {
        let (file, bytes) = store(1, &[1]);
        wipe(file.as_file()).expect("wiped");
        assert!(read(file.as_file(), bytes).is_err());
        assert!(read(file.as_file(), 0).is_err());
    }
}
