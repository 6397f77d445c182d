//! The index of packed evidence, and what makes a block.

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// Folder in the directory of a scenario that holds its packs. What was packed while the scenario
/// ran lies in folders of its own, whose names follow this one with a number: `packed-1`.
pub const PACKED: &str = "packed";
/// Name of the index in that folder.
pub(super) const INDEX: &str = "index";
/// Most bytes of a block. Disks change in units of this size.
pub(super) const BLOCK_BYTES: u64 = 4096;
/// Bytes after which a pack ends.
pub(super) const PACK_BYTES: usize = 4 << 20;
/// Blocks after which a pack ends.
pub(super) const PACK_BLOCKS: usize = 16 << 10;
/// How hard to compress, from 1 to 9.
pub(super) const LEVEL: u8 = 6;
/// Most bytes of an index that is read, uncompressed. An index of 1 GiB of evidence has less than
/// 10 MiB.
const MOST_INDEX_BYTES: usize = 32 << 20;
/// Most blocks of all packs together: 8 GiB.
const MOST_BLOCKS: usize = 2 << 20;
/// Most blocks of all files together: 16 GiB without the zeroes.
pub(super) const MOST_REFERENCES: u64 = 4 << 20;
/// Most bytes of a compressed pack. What cannot be compressed grows by less than this.
pub(super) const LARGEST_PACK: u64 = 2 * PACK_BYTES as u64;
/// Version of this format.
const VERSION: u32 = 1;

/// What the packs hold.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    version: u32,
    pub(super) packs: Vec<Pack>,
    pub(super) files: Vec<PackedFile>,
}

/// Blocks that are compressed together.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pack {
    /// BLAKE3 digest of the blocks, one after the other; the name of the file.
    pub(super) content: Digest,
    /// BLAKE3 digest of the compressed file.
    pub(super) stored: Digest,
    /// Lengths of consecutive blocks: how many, and how long each is.
    pub(super) blocks: Vec<(u64, u64)>,
}

/// A file that was divided into blocks. What no part covers is zero.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PackedFile {
    /// Relative to the directory of the scenario.
    pub(super) path: String,
    /// Its length.
    pub(super) bytes: u64,
    /// Its parts in order, without overlap.
    pub(super) parts: Vec<Part>,
}

/// Consecutive blocks at one place of a file. Blocks are numbered over all packs, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Offset in the file.
    pub(super) at: u64,
    /// The first block.
    pub(super) first: u64,
    /// Number of blocks.
    pub(super) count: u64,
}

/// A BLAKE3 digest as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest(blake3::Hash);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes))
    }

    /// The name of the pack with this content. It is hexadecimal, so it never leaves its folder.
    pub(super) fn file_name(&self) -> String {
        format!("{}.pack", self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = blake3::HexError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        blake3::Hash::from_hex(text).map(Self)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.to_string()
    }
}

/// Where a block lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) pack: usize,
    pub(super) offset: usize,
    pub(super) length: usize,
}

impl Index {
    pub(super) fn new(packs: Vec<Pack>, files: Vec<PackedFile>) -> Self {
        Self { version: VERSION, packs, files }
    }

    /// The content of the index file, which ends with a digest of what is before it.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = miniz_oxide::deflate::compress_to_vec_zlib(&text, LEVEL);
        bytes.extend(*blake3::hash(&bytes).as_bytes());
        Ok(bytes)
    }

    /// # Errors
    /// The file was altered, or another version of the suite wrote it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let (bytes, digest) = bytes.split_last_chunk::<{ blake3::OUT_LEN }>().context("it is too short")?;
        ensure!(blake3::hash(bytes) == *digest, "it is not what the suite wrote");
        let text = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(bytes, MOST_INDEX_BYTES)
            .map_err(|error| anyhow::anyhow!("it cannot be decompressed ({error})"))?;
        let index: Self = serde_json::from_slice(&text).context("it is malformed")?;
        ensure!(index.version == VERSION, "it has version {}, this suite reads {VERSION}", index.version);
        Ok(index)
    }

    /// Where each block lies.
    ///
    /// # Errors
    /// A pack or a block is larger than any that the suite writes.
    pub(super) fn places(&self) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        for (pack, entry) in self.packs.iter().enumerate() {
            let (mut offset, first) = (0, places.len());
            for (count, length) in &entry.blocks {
                ensure!((1..=BLOCK_BYTES).contains(length), "pack {pack} has a block of {length} bytes");
                let length = *length as usize;
                for _ in 0..*count {
                    let fits = offset < PACK_BYTES && places.len() - first < PACK_BLOCKS;
                    ensure!(fits, "pack {pack} is larger than any that the suite writes");
                    ensure!(places.len() < MOST_BLOCKS, "it names more than {MOST_BLOCKS} blocks");
                    places.push(Place { pack, offset, length });
                    offset += length;
                }
            }
        }
        Ok(places)
    }
}

impl Pack {
    /// Bytes of all blocks.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.iter().map(|(count, length)| (count * length) as usize).sum()
    }
}
