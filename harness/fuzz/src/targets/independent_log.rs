//! A second reader of write logs, written from the description of dm-log-writes and not from the
//! oracle's code. It is slow and keeps everything in memory.

/// One write or discard, in sectors of 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub sector: u64,
    pub sectors: u64,
    /// Empty for a discard.
    pub data: Vec<u8>,
    pub discard: bool,
}

/// A log that was read.
#[derive(Debug, Default)]
pub struct Log {
    pub writes: Vec<Write>,
    pub flushes: u64,
    /// Whether it ends after its last entry, with nothing but zeroes behind.
    pub complete: bool,
}

const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Little-endian numbers of 64 bits.
fn number(bytes: &[u8], index: usize) -> u64 {
    bytes[index * 8..][..8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Reads entries until one is not complete or makes no sense.
pub fn read(bytes: &[u8]) -> Log {
    let mut log = Log::default();
    // A log whose superblock was never written has sectors of 512 bytes.
    let recorded = bytes.get(24..28).map_or(0, |size| number(&[size, &[0; 4]].concat(), 0));
    let unit = if recorded == 0 { 512 } else { recorded as usize };
    let mut rest = bytes.get(unit..).unwrap_or_default();
    loop {
        if rest.iter().all(|byte| *byte == 0) {
            log.complete = true;
            return log;
        }
        let Some(header) = rest.get(..512).filter(|header| header[..32].iter().any(|byte| *byte != 0)) else {
            return log;
        };
        let [sector, count, flags] = [0, 1, 2].map(|index| number(header, index));
        let discard = flags & DISCARD != 0;
        let per_unit = unit as u64 / 512;
        let Some(sectors) = count.checked_mul(per_unit) else { return log };
        let data_bytes = if discard { Some(0) } else { sectors.checked_mul(512) };
        let Some(data_bytes) = data_bytes.filter(|bytes| *bytes <= rest.len() as u64) else { return log };
        // Only the data of a write has to be there in full: nothing needs the rest of a header.
        let begin = if data_bytes == 0 { unit.min(rest.len()) } else { unit };
        let Some(data) = rest.get(begin..begin + data_bytes as usize) else { return log };
        log.flushes += u64::from(flags & FLUSH != 0);
        if sectors > 0 {
            let Some(sector) = sector.checked_mul(per_unit) else { return log };
            log.writes.push(Write { sector, sectors, data: data.to_vec(), discard });
        }
        assert!(flags & MARK == 0 || data_bytes <= rest.len() as u64);
        rest = &rest[begin + data_bytes as usize..];
    }
}
