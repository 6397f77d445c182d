//! Builds write logs as QEMU would write them.

pub const SECTOR: usize = 512;
pub const FLUSH: u64 = 1;
pub const DISCARD: u64 = 4;

/// A log under construction.
#[derive(Clone)]
pub struct LogBytes {
    pub bytes: Vec<u8>,
    entries: u64,
}

impl LogBytes {
    pub fn new() -> Self {
        Self { bytes: vec![0; SECTOR], entries: 0 }
    }

    pub fn header(&mut self, sector: u64, count: u64, flags: u64) {
        self.bytes.extend([sector, count, flags, 0].map(u64::to_le_bytes).concat());
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR), 0);
        self.entries += 1;
    }

    pub fn write(&mut self, sector: u64, data: &[u8]) {
        self.header(sector, (data.len() / SECTOR) as u64, 0);
        self.bytes.extend(data);
    }

    pub fn discard(&mut self, sector: u64, count: u64) {
        self.header(sector, count, DISCARD);
    }

    pub fn flush(&mut self) {
        self.header(0, 0, FLUSH);
    }

    /// The log with a superblock that counts `entries`.
    pub fn counting(mut self, entries: u64) -> Vec<u8> {
        let fields = [0x006a_7366_7773_6872u64, 1, entries].map(u64::to_le_bytes).concat();
        self.bytes[..24].copy_from_slice(&fields);
        self.bytes[24..28].copy_from_slice(&512u32.to_le_bytes());
        self.bytes
    }

    /// The log with a correct superblock.
    pub fn finish(self) -> Vec<u8> {
        let entries = self.entries;
        self.counting(entries)
    }
}

/// A sector of recognisable content; 0 is zeroes.
pub fn sector(content: u8) -> [u8; SECTOR] {
    let mut bytes = [content; SECTOR];
    // Sectors differ only in the last byte, so that no comparison may stop early.
    if content > 0 {
        bytes[..SECTOR - 1].fill(0x5a);
    }
    bytes
}

pub fn sectors(contents: &[u8]) -> Vec<u8> {
    contents.iter().flat_map(|c| sector(*c)).collect()
}
