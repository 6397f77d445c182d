//! The ledger: numbered, checksummed records that alternate between a machine's disks.
//!
//! Record `i` is written only after record `i - 1` became durable. So a recovered machine that
//! holds `i` without `i - 1` is in a state that never existed: its disks were cut at different
//! points. The files are rings: a record takes the place of one from the lap before, so that they
//! stay as small as they are however long a machine lives.

use std::fmt;

/// Size of a record: one sector, so that a record cannot be torn.
pub const RECORD_BYTES: usize = 512;
/// Size of the preallocated ledger file on each disk.
pub const LEDGER_BYTES: u64 = 2 * 1024 * 1024;
/// Number of records that fit one disk's ledger.
pub const RECORDS_PER_DISK: u64 = LEDGER_BYTES / RECORD_BYTES as u64;
/// Number of the newest records that have to be there. It is half of what two disks hold, because
/// what is wiped after the last contiguous record takes old records with it.
const NEWEST: u64 = RECORDS_PER_DISK;

const MAGIC: &[u8; 8] = b"RTLEDGR1";
const HEADER_BYTES: usize = 44;
const FLAG_QUIESCED: u32 = 1;

/// Number of a record, counted from 1 over the lifetime of a machine.
pub type RecordNumber = u64;

/// One acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the machine's order, from 1.
    pub number: RecordNumber,
    /// Number of the boot that wrote it, given by the host, so that a number that is written again
    /// after a failover is not mistaken for the lost record of that number.
    pub epoch: u32,
    /// Milliseconds since the writing guest booted.
    pub uptime_ms: u64,
    /// In a replication group: the neighbour's last durable record known when this one was written.
    pub seen: u64,
    /// Whether the quiesce hook wrote it: the applications were quiesced when it became durable.
    pub quiesced: bool,
}

/// The disk a record lies on and the slot within that disk's ledger file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index of the disk: 0 system, 1 data.
    pub disk: usize,
    /// Byte offset in the ledger file.
    pub offset: u64,
}

/// The oldest record that has to be there if `newest` is.
#[must_use]
pub fn oldest_due(newest: RecordNumber) -> RecordNumber {
    newest.saturating_sub(NEWEST) + 1
}

/// The slot of record `number` when `disks` disks share the ledger. `None` for number 0, which no
/// record has.
#[must_use]
pub fn slot(number: RecordNumber, disks: usize) -> Option<Slot> {
    let index = number.checked_sub(1)?;
    let disks_u64 = disks as u64;
    let (disk, row) = (index % disks_u64, index / disks_u64 % RECORDS_PER_DISK);
    Some(Slot { disk: disk as usize, offset: row * RECORD_BYTES as u64 })
}

impl Record {
    /// The bytes of the record on disk.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0u8; RECORD_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.uptime_ms.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.seen.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[36..40].copy_from_slice(&(if self.quiesced { FLAG_QUIESCED } else { 0 }).to_le_bytes());
        // The rest depends on the number, so that a sector mixed from two records is always
        // invalid.
        for (i, byte) in bytes[HEADER_BYTES..].iter_mut().enumerate() {
            *byte = (self.number as usize).wrapping_mul(31).wrapping_add(i) as u8;
        }
        let crc = checksum(&bytes);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Parses one sector. `Ok(None)`: there is no record.
    ///
    /// # Errors
    /// The sector begins like a record but its checksum is wrong: it is torn or altered.
    pub fn decode(sector: &[u8]) -> Result<Option<Self>, TornRecord> {
        if sector.len() < RECORD_BYTES || &sector[0..8] != MAGIC {
            return Ok(None);
        }
        let sector = &sector[..RECORD_BYTES];
        let u64_at = |at: usize| u64::from_le_bytes(sector[at..at + 8].try_into().unwrap_or_default());
        let u32_at = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().unwrap_or_default());
        let number = u64_at(8);
        if checksum(sector) != u32_at(40) {
            return Err(TornRecord { number });
        }
        Ok(Some(Self {
            number,
            uptime_ms: u64_at(16),
            seen: u64_at(24),
            epoch: u32_at(32),
            quiesced: u32_at(36) & FLAG_QUIESCED != 0,
        }))
    }
}

/// CRC-32 of the record without its checksum field.
fn checksum(sector: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sector[..40]);
    hasher.update(&sector[HEADER_BYTES..RECORD_BYTES]);
    hasher.finalize()
}

/// A sector that begins like a record but is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornRecord {
    /// The number it claims.
    pub number: RecordNumber,
}

impl fmt::Display for TornRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ledger record {} is torn: its checksum does not match", self.number)
    }
}

impl std::error::Error for TornRecord {}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record { number: 7, epoch: 2, uptime_ms: 1234, seen: 5, quiesced: true };

    #[test]
    fn a_record_reads_back_as_written() {
        assert_eq!(Record::decode(&RECORD.encode()), Ok(Some(RECORD)));
    }

    #[test]
    fn any_flipped_bit_after_the_magic_is_detected() {
        for bit in 64..RECORD_BYTES * 8 {
            let mut bytes = RECORD.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn records_alternate_between_disks_and_begin_again_after_a_lap() {
        assert_eq!(slot(1, 2), Some(Slot { disk: 0, offset: 0 }));
        assert_eq!(slot(2, 2), Some(Slot { disk: 1, offset: 0 }));
        assert_eq!(slot(3, 2), Some(Slot { disk: 0, offset: 512 }));
        assert_eq!(slot(0, 2), None);
        let lap = 2 * RECORDS_PER_DISK;
        assert_eq!(slot(lap, 2), Some(Slot { disk: 1, offset: LEDGER_BYTES - 512 }));
        assert_eq!(slot(lap + 3, 2), slot(3, 2));
    }
}
