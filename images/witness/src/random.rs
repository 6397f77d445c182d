//! A seeded random generator, so that the same seed gives the same writes.

/// A disk writes a sector whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The seed of stream number `stream` of `seed`.
#[must_use]
pub fn stream_seed(seed: u64, stream: u64) -> u64 {
    seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F)
}

/// A SplitMix64 generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for stream number `stream` of `seed`; the streams of one seed differ, so that
    /// each thread can have its own.
    #[must_use]
    pub fn for_stream(seed: u64, stream: u64) -> Self {
        Self(stream_seed(seed, stream))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Fills a buffer such that it compresses well, although no two sectors of 512 bytes are equal:
    /// each repeats eight random bytes.
    pub fn fill_sectors(&mut self, buffer: &mut [u8]) {
        for sector in buffer.chunks_mut(SECTOR_BYTES) {
            let bytes = self.next_u64().to_le_bytes();
            for chunk in sector.chunks_mut(bytes.len()) {
                chunk.copy_from_slice(&bytes[..chunk.len()]);
            }
        }
    }

    /// Fills a buffer with random bytes, which do not compress.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let draw = |seed, stream| Random::for_stream(seed, stream).next_u64();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_eq!(Random::for_stream(1, 1).below(0), 0);
    }

    #[test]
    fn sectors_repeat_their_bytes_and_not_each_other() {
        let mut buffer = [0u8; 3 * SECTOR_BYTES + 5];
        Random::new(3).fill_sectors(&mut buffer);
        let sectors: Vec<_> = buffer.chunks(SECTOR_BYTES).collect();
        assert!(sectors.iter().all(|sector| sector.chunks(8).all(|bytes| sector.starts_with(bytes))));
        for (index, sector) in sectors.iter().enumerate() {
            assert!(sectors[..index].iter().all(|earlier| earlier[..5] != sector[..5]));
        }
    }

    #[test]
    fn buffers_of_any_length_are_filled() {
        let mut buffer = [0u8; 4099];
        Random::for_stream(7, 7).fill(&mut buffer);
        assert!(buffer.iter().filter(|byte| **byte == 0).count() < 100);
    }
}
