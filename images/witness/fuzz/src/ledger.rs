//! A sector is a record, a torn record or none, and no two sectors are the same record.

use witness::ledger::{RECORD_BYTES, Record, slot};

/// Runs the target: the input is the beginning of a sector, and the fields of a record.
pub fn run(input: &[u8]) {
    let _ = Record::decode(input);
    let mut sector = [0; RECORD_BYTES];
    let length = input.len().min(RECORD_BYTES);
    sector[..length].copy_from_slice(&input[..length]);
    if let Ok(Some(record)) = Record::decode(&sector) {
        // The rest of a record is not read, but its checksum covers it.
        let again = record.encode();
        assert_eq!(Record::decode(&again), Ok(Some(record)));
        for disks in 1..4 {
            if let Some(slot) = slot(record.number, disks) {
                assert!(slot.disk < disks);
            }
        }
    }
    let number = |at: usize| u64::from_le_bytes(sector[at..at + 8].try_into().expect("eight bytes"));
    let written = Record {
        number: number(0),
        epoch: number(8) as u32,
        uptime_ms: number(16),
        seen: number(24),
        quiesced: sector[40] & 1 != 0,
    };
    let mut bytes = written.encode();
    assert_eq!(Record::decode(&bytes), Ok(Some(written)));
    // A record of which one bit is wrong is not a sound one.
    let at = usize::from(sector[41]) * 2 + usize::from(sector[42] & 1);
    bytes[at] ^= 1 << (sector[43] & 7);
    assert!(!matches!(Record::decode(&bytes), Ok(Some(_))), "a flipped bit at byte {at} is accepted");
}
