//! The on-disk format of dm-log-writes, as QEMU's `blklogwrites` writes it.

use super::SECTOR_BYTES;

/// Bytes of a header that carry information; the rest of its log sector is zero, or the text of a
/// mark.
pub(super) const HEADER_BYTES: usize = 32;
/// Log sector size assumed for a log without a superblock: QEMU's default.
pub(super) const DEFAULT_SECTOR_BYTES: u64 = SECTOR_BYTES;

const SUPER_BYTES: usize = 28;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// Largest log sector that QEMU accepts.
const MAX_SECTOR_BYTES: u64 = 1 << 23;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
const METADATA: u64 = 16;

/// The superblock in the first sector of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Number of entries when the superblock was written; rarely up to date.
    pub entries: u64,
    /// Size of a log sector, the unit of the whole log.
    pub sector_bytes: u64,
}

/// Flags of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(pub u8);

impl Flags {
    pub fn flush(self) -> bool {
        u64::from(self.0) & FLUSH != 0
    }
    pub fn fua(self) -> bool {
        u64::from(self.0) & FUA != 0
    }
    pub fn discard(self) -> bool {
        u64::from(self.0) & DISCARD != 0
    }
    pub fn mark(self) -> bool {
        u64::from(self.0) & MARK != 0
    }
}

/// The header of one entry, in units of 512-byte sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub sector: u64,
    pub sectors: u64,
    pub flags: Flags,
}

impl Header {
    /// Bytes of data that follow the header in the log.
    pub fn data_bytes(&self) -> u64 {
        if self.flags.discard() { 0 } else { self.sectors.saturating_mul(SECTOR_BYTES) }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// Parses the superblock. `Ok(None)`: there is none yet; QEMU writes it at the first flush.
pub(super) fn superblock(bytes: &[u8]) -> Result<Option<Superblock>, String> {
    let bytes = &bytes[..bytes.len().min(SUPER_BYTES)];
    if is_zero(bytes) {
        return Ok(None);
    }
    if bytes.len() < SUPER_BYTES {
        return Err(format!("a superblock has {SUPER_BYTES} bytes, here are {}", bytes.len()));
    }
    let (magic, version, entries) = (u64_at(bytes, 0), u64_at(bytes, 8), u64_at(bytes, 16));
    let sector_bytes = u64_at(&[&bytes[24..], &[0; 4]].concat(), 0);
    if magic != MAGIC {
        return Err(format!("the magic number is {magic:#x}, a write log has {MAGIC:#x}"));
    }
    if version != VERSION {
        return Err(format!("version {version}, only version {VERSION} is supported"));
    }
    if !sector_bytes.is_power_of_two() || !(SECTOR_BYTES..=MAX_SECTOR_BYTES).contains(&sector_bytes) {
        return Err(format!("a log sector of {sector_bytes} bytes"));
    }
    Ok(Some(Superblock { entries, sector_bytes }))
}

/// Parses the header of one entry. `Ok(None)`: all bytes are zero, so no entry was written here.
///
/// `bytes` is the first 512 bytes of the header's log sector.
pub(super) fn header(bytes: &[u8], sector_bytes: u64, disk_bytes: u64) -> Result<Option<Header>, String> {
    if is_zero(&bytes[..HEADER_BYTES]) {
        return Ok(None);
    }
    let (sector, count, flags, data_len) =
        (u64_at(bytes, 0), u64_at(bytes, 8), u64_at(bytes, 16), u64_at(bytes, 24));
    let flags = known_flags(flags)?;
    let header = in_disk(sector, count, flags, sector_bytes, disk_bytes)?;
    if count == 0 && flags == Flags::default() {
        return Err(format!("a write of no sectors at sector {sector}"));
    }
    check_length(data_len, &header, sector_bytes)?;
    if !flags.mark() && !is_zero(&bytes[HEADER_BYTES..]) {
        return Err("bytes after the header that should be zero".into());
    }
    Ok(Some(header))
}

fn known_flags(flags: u64) -> Result<Flags, String> {
    if flags & !(FLUSH | FUA | DISCARD | MARK | METADATA) != 0 {
        return Err(format!("unknown flags {flags:#x}"));
    }
    Ok(Flags(flags as u8))
}

/// Converts log sectors to 512-byte sectors and checks that they lie inside the disk.
fn in_disk(sector: u64, count: u64, flags: Flags, unit: u64, disk_bytes: u64) -> Result<Header, String> {
    let scale = unit / SECTOR_BYTES;
    // The disk need not end on a boundary of a log sector.
    let disk_sectors = disk_bytes.div_ceil(unit);
    match sector.checked_add(count) {
        Some(end) if end <= disk_sectors => {
            Ok(Header { sector: sector * scale, sectors: count * scale, flags })
        }
        _ => Err(format!("{count} sectors at sector {sector} leave a disk of {disk_sectors} sectors")),
    }
}

/// QEMU always writes 0; Linux writes the length of a mark, or repeats the length of the data.
fn check_length(data_len: u64, header: &Header, sector_bytes: u64) -> Result<(), String> {
    let allowed = match header.flags {
        flags if flags.mark() => data_len <= sector_bytes - HEADER_BYTES as u64,
        _ => data_len == 0 || data_len == header.sectors.saturating_mul(SECTOR_BYTES),
    };
    if allowed { Ok(()) } else { Err(format!("a data length of {data_len} bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(sector: u64, count: u64, flags: u64, len: u64) -> Vec<u8> {
        let mut bytes = [sector, count, flags, len].map(u64::to_le_bytes).concat();
        bytes.resize(512, 0);
        bytes
    }

    #[test]
    fn a_large_log_sector_is_translated() {
        let read = header(&raw(3, 2, FUA, 0), 4096, 1 << 20);
        assert_eq!(read, Ok(Some(Header { sector: 24, sectors: 16, flags: Flags(2) })));
    }

    #[test]
    fn invalid_headers_are_refused() {
        for (bytes, word) in [
            (raw(0, u64::MAX, 0, 0), "leave a disk"),
            (raw(u64::MAX, 1, 0, 0), "leave a disk"),
            (raw(2048, 1, 0, 0), "leave a disk"),
            (raw(0, 1, 32, 0), "unknown flags"),
            (raw(1, 0, 0, 0), "no sectors"),
            (raw(1, 1, 0, 7), "data length"),
        ] {
            let error = header(&bytes, 512, 1 << 20).expect_err(word);
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_missing_superblock_is_no_error() {
        assert_eq!(superblock(&[0; 512]), Ok(None));
        assert_eq!(superblock(&[]), Ok(None));
        assert!(superblock(&[1; 512]).is_err());
        assert!(superblock(&MAGIC.to_le_bytes()).is_err());
    }
}
