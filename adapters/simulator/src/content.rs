//! Content of volumes: a layer of chunks for each volume over the volumes below, and snapshots of
//! whole chains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nbd::Extent;

/// Flags of `base:allocation` for unallocated ranges, which read as zeroes.
pub(crate) const HOLE_AND_ZERO: u64 = 3;

/// One chunk of a volume's own content.
#[derive(Clone, Debug)]
pub(crate) enum Chunk {
    /// Zeroes that hide the content below.
    Zero,
    /// Content, possibly shared with other volumes and snapshots.
    Data(Arc<[u8]>),
}

/// A volume's own chunks by index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) chunks: BTreeMap<u64, Chunk>,
}

impl Layer {
    /// Number of chunks with content.
    pub(crate) fn filled(&self) -> u64 {
        self.chunks.values().filter(|chunk| matches!(chunk, Chunk::Data(_))).count() as u64
    }
}

/// Splits a range of bytes at chunk boundaries: chunk index, first byte within it, length.
pub(crate) fn pieces(chunk: u64, offset: u64, length: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length;
    let mut at = offset;
    std::iter::from_fn(move || {
        let (index, within) = (at / chunk, at % chunk);
        let piece = (chunk - within).min(end - at);
        at += piece;
        (piece > 0).then_some((index, within as usize, piece as usize))
    })
}

/// Content of a disk at one moment. It is cheap to take and to keep, because unchanged content is
/// shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The volume's own chunks first, then those below.
    layers: Vec<Arc<Layer>>,
    size: u64,
    chunk: u64,
}

impl Snapshot {
    pub(crate) fn new(layers: Vec<Arc<Layer>>, size: u64, chunk: u64) -> Self {
        Self { layers, size, chunk }
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes stored for it, shared or not.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.filled().len() as u64 * self.chunk
    }

    /// Fills `buffer` from byte `offset`; bytes beyond the end are zero.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) {
        let mut rest = buffer;
        for (index, within, length) in pieces(self.chunk, offset, rest.len() as u64) {
            let (piece, after) = rest.split_at_mut(length);
            match self.chunk(index) {
                Some(bytes) => piece.copy_from_slice(&bytes[within..within + length]),
                None => piece.fill(0),
            }
            rest = after;
        }
    }

    /// `length` bytes from `offset`; bytes beyond the end are zero.
    #[must_use]
    pub fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read(offset, &mut bytes);
        bytes
    }

    /// The same content with these bytes from byte `offset` on.
    pub(crate) fn with(&self, offset: u64, bytes: &[u8]) -> Self {
        let mut layer = Layer::default();
        let mut rest = bytes;
        for (index, within, length) in pieces(self.chunk, offset, bytes.len() as u64) {
            let (piece, after) = rest.split_at(length);
            let mut chunk = self.bytes(index * self.chunk, self.chunk as usize);
            chunk[within..within + length].copy_from_slice(piece);
            let is_zero = chunk.iter().all(|byte| *byte == 0);
            layer.chunks.insert(index, if is_zero { Chunk::Zero } else { Chunk::Data(chunk.into()) });
            rest = after;
        }
        let layers = std::iter::once(Arc::new(layer)).chain(self.layers.iter().cloned());
        Self { layers: layers.collect(), ..*self }
    }

    /// Offsets in bytes of the sectors in which two disks of the same size differ, in ascending
    /// order.
    #[must_use]
    pub fn differences(&self, other: &Self, sector: usize) -> Vec<u64> {
        let window = self.chunk.min(other.chunk);
        let mut windows = BTreeSet::new();
        for snapshot in [self, other] {
            for index in snapshot.filled() {
                let start = index * snapshot.chunk;
                windows.extend((start..start + snapshot.chunk).step_by(window as usize));
            }
        }
        let mut found = Vec::new();
        for start in windows {
            let (ours, theirs) = (self.bytes(start, window as usize), other.bytes(start, window as usize));
            if ours != theirs {
                let sectors = ours.chunks(sector).zip(theirs.chunks(sector)).enumerate();
                let differ = sectors.filter(|(_, (a, b))| a != b);
                found.extend(differ.map(|(index, _)| start + (index * sector) as u64));
            }
        }
        found
    }

    /// All extents in the meta context `base:allocation`.
    pub(crate) fn allocation(&self) -> Vec<Extent> {
        let runs = self.filled().into_iter().map(|index| (index * self.chunk, self.chunk));
        cover(self.size, runs, 0, HOLE_AND_ZERO)
    }

    /// Indices of the chunks with content.
    fn filled(&self) -> BTreeSet<u64> {
        let all: BTreeSet<u64> = self.layers.iter().flat_map(|layer| layer.chunks.keys().copied()).collect();
        all.into_iter().filter(|index| self.chunk(*index).is_some()).collect()
    }

    /// Content of a chunk; `None` if it reads as zeroes.
    fn chunk(&self, index: u64) -> Option<&Arc<[u8]>> {
        match self.layers.iter().find_map(|layer| layer.chunks.get(&index))? {
            Chunk::Data(bytes) => Some(bytes),
            Chunk::Zero => None,
        }
    }
}

/// Extents of a whole disk of `size` bytes: `runs`, in ascending order, with the flags `inside`,
/// everything else with `outside`.
pub(crate) fn cover(
    size: u64,
    runs: impl Iterator<Item = (u64, u64)>,
    inside: u64,
    outside: u64,
) -> Vec<Extent> {
    let mut all = Vec::new();
    let mut at = 0;
    for (start, length) in runs {
        let end = (start + length).min(size);
        if start > at {
            all.push(Extent { offset: at, length: start - at, flags: outside });
        }
        if end > start {
            all.push(Extent { offset: start, length: end - start, flags: inside });
            at = end;
        }
    }
    if at < size {
        all.push(Extent { offset: at, length: size - at, flags: outside });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(chunks: &[(u64, Chunk)]) -> Snapshot {
        let layer = Layer { chunks: chunks.iter().cloned().collect() };
        Snapshot::new(vec![Arc::new(layer)], 20, 8)
    }

    fn data(byte: u8) -> Chunk {
        Chunk::Data(vec![byte; 8].into())
    }

    #[test]
    fn pieces_end_at_chunk_boundaries() {
        let all: Vec<_> = pieces(8, 6, 12).collect();
        assert_eq!(all, [(0, 6, 2), (1, 0, 8), (2, 0, 2)]);
        assert_eq!(pieces(8, 6, 0).count(), 0);
    }

    #[test]
    fn a_layer_hides_the_content_below_even_with_zeroes() {
        let mut top = snapshot(&[(0, Chunk::Zero), (1, data(1))]);
        top.layers.extend(snapshot(&[(0, data(9)), (2, data(2))]).layers);
        assert_eq!(top.bytes(6, 12), [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2]);
        let extents: Vec<_> = top.allocation().iter().map(|e| (e.offset, e.length, e.flags)).collect();
        assert_eq!(extents, [(0, 8, 3), (8, 8, 0), (16, 4, 0)]);
    }

    #[test]
    fn differences_are_found_across_chunk_sizes() {
        let one = snapshot(&[(1, data(1))]);
        let bytes: Arc<[u8]> = [vec![0; 8], vec![1; 7], vec![3]].concat().into();
        let layer = Layer { chunks: [(0, Chunk::Data(bytes))].into() };
        let other = Snapshot::new(vec![Arc::new(layer)], 20, 16);
        assert_eq!(one.differences(&other, 4), [12]);
        assert_eq!(one.differences(&one, 4), Vec::<u64>::new());
    }

    #[test]
    fn extents_cover_the_disk_without_gaps() {
        let runs = |runs: &[(u64, u64)]| cover(10, runs.iter().copied(), 1, 0);
        assert_eq!(runs(&[]).len(), 1);
        let all: Vec<_> = runs(&[(2, 3), (5, 9)]).iter().map(|e| (e.offset, e.length, e.flags)).collect();
        assert_eq!(all, [(0, 2, 0), (2, 3, 1), (5, 5, 1)]);
    }
}
