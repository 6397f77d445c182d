//! Writes packs.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::blocks::{Division, each_block};
use super::index::{
    Digest, INDEX, Index, LARGEST_PACK, LEVEL, PACK_BLOCKS, PACK_BYTES, Pack, PackedFile, Part,
};
use crate::foreign_files;

/// One block in so many ends its pack, by its digest: about 1 MiB of blocks of 4 KiB.
const ENDS_PACK: u8 = 0;

/// Writes the blocks of files into packs in a new folder.
pub(super) struct PackWriter {
    folder: Utf8PathBuf,
    /// Other folders of packs of the same run, whose packs may be equal to ours.
    siblings: Vec<Utf8PathBuf>,
    /// The number of each block that is stored.
    known: HashMap<blake3::Hash, u64>,
    /// The blocks that are not in a pack yet.
    open: Vec<u8>,
    open_blocks: Vec<(u64, u64)>,
    packs: Vec<Pack>,
    files: Vec<PackedFile>,
}

impl PackWriter {
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn new(folder: Utf8PathBuf, siblings: Vec<Utf8PathBuf>) -> Result<Self> {
        std::fs::create_dir(&folder).with_context(|| format!("make {folder}"))?;
        Ok(Self {
            folder,
            siblings,
            known: HashMap::new(),
            open: Vec::new(),
            open_blocks: Vec::new(),
            packs: Vec::new(),
            files: Vec::new(),
        })
    }

    /// Adds the file at `path` under the name `name`.
    ///
    /// # Errors
    /// It cannot be read, or no pack can be written.
    pub(super) fn add(&mut self, name: &str, path: &Utf8Path, division: &Division) -> Result<()> {
        let mut parts: Vec<Part> = Vec::new();
        let mut end = 0;
        let bytes = each_block(path, division, |at, block| {
            let first = self.number_of(block)?;
            match parts.last_mut() {
                Some(part) if at == end && part.first + part.count == first => part.count += 1,
                _ => parts.push(Part { at, first, count: 1 }),
            }
            end = at + block.len() as u64;
            Ok(())
        })?;
        self.files.push(PackedFile { path: name.to_owned(), bytes, parts });
        Ok(())
    }

    /// The number of a block, which is stored unless it is known.
    fn number_of(&mut self, block: &[u8]) -> Result<u64> {
        let digest = blake3::hash(block);
        let next = self.known.len() as u64;
        let number = *self.known.entry(digest).or_insert(next);
        if number < next {
            return Ok(number);
        }
        let length = block.len() as u64;
        match self.open_blocks.last_mut() {
            Some((count, known)) if *known == length => *count += 1,
            _ => self.open_blocks.push((1, length)),
        }
        self.open.extend_from_slice(block);
        // The content decides where a pack ends. So disks that differ in a few blocks differ in a
        // few packs.
        let blocks: u64 = self.open_blocks.iter().map(|(count, _)| count).sum();
        let full = self.open.len() >= PACK_BYTES || blocks >= PACK_BLOCKS as u64;
        if digest.as_bytes()[0] == ENDS_PACK || full {
            self.end_pack()?;
        }
        Ok(number)
    }

    fn end_pack(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let content = Digest::of(&self.open);
        let name = content.file_name();
        let path = self.folder.join(&name);
        let stored = match self.link(&name, &path) {
            Some(stored) => stored,
            None => {
                let compressed = miniz_oxide::deflate::compress_to_vec_zlib(&self.open, LEVEL);
                write_durably(&path, &compressed)?;
                Digest::of(&compressed)
            }
        };
        self.packs.push(Pack { content, stored, blocks: std::mem::take(&mut self.open_blocks) });
        self.open.clear();
        Ok(())
    }

    /// Uses the pack of a sibling, if one has the same. A sibling's pack that was altered is not
    /// used.
    fn link(&self, name: &str, path: &Utf8Path) -> Option<Digest> {
        self.siblings.iter().find_map(|sibling| {
            let theirs = sibling.join(name);
            let compressed = foreign_files::read_at_most(&theirs, LARGEST_PACK).ok()?;
            let content =
                miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&compressed, self.open.len()).ok()?;
            // Some file systems have no links.
            (content == self.open && std::fs::hard_link(&theirs, path).is_ok())
                .then(|| Digest::of(&compressed))
        })
    }

    /// Writes the index and makes the folder durable.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn finish(mut self) -> Result<()> {
        self.end_pack()?;
        let index = Index::new(self.packs, self.files);
        write_durably(&self.folder.join(INDEX), &index.encode()?)?;
        sync(&self.folder)
    }
}

fn write_durably(path: &Utf8Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("write {path}"))
}

/// Makes a file or a folder durable.
///
/// # Errors
/// It cannot be opened or written.
pub(super) fn sync(path: &Utf8Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).with_context(|| format!("write {path} to the disk"))
}
