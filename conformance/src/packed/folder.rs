//! Reads one folder of packs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, anyhow, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use contract::Bytes;
use harness::oracle::{RawSource, SectorSource as _};

use super::index::{Digest, INDEX, Index, LARGEST_PACK, MOST_REFERENCES, Pack, PackedFile, Place};
use crate::foreign_files;

/// Bytes that are read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// A folder of packs and their index.
pub(super) struct PackFolder {
    folder: Utf8PathBuf,
    index: Index,
    places: Vec<Place>,
}

/// A file, and where each block of it lies.
type Divided = (File, Vec<(u64, Place)>);

impl PackFolder {
    /// # Errors
    /// The index is missing or was altered.
    pub(super) fn open(folder: Utf8PathBuf) -> Result<Self> {
        let path = folder.join(INDEX);
        let read = || {
            let index = Index::decode(&foreign_files::read(&path)?)?;
            let places = index.places()?;
            index.files.iter().try_for_each(|file| check_file(file, &places))?;
            let parts = index.files.iter().flat_map(|file| &file.parts);
            let references = parts.fold(0_u64, |sum, part| sum.saturating_add(part.count));
            ensure!(references <= MOST_REFERENCES, "its files have {references} blocks");
            Ok::<_, anyhow::Error>((index, places))
        };
        let (index, places) = read().with_context(|| format!("read the index {path}"))?;
        Ok(Self { folder, index, places })
    }

    /// Names of the files that it holds, relative to the directory of the scenario.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.index.files.iter().map(|file| file.path.as_str())
    }

    /// The length of a file that it holds.
    pub(super) fn length(&self, name: &str) -> Option<u64> {
        self.index.files.iter().find(|file| file.path == name).map(|file| file.bytes)
    }

    /// What is wrong with the packs: one line for each that is missing or was altered.
    pub(super) fn damages(&self) -> Vec<String> {
        self.index
            .packs
            .iter()
            .filter_map(|pack| self.content(pack).err())
            .map(|e| format!("{e:#}"))
            .collect()
    }

    /// Writes a packed file to each of the new files. Names in the index are only compared, so that
    /// an index cannot choose where to write.
    ///
    /// # Errors
    /// A file is not packed, a pack was altered, or the new files cannot be written. What would not
    /// fit on the disk is refused before anything is written.
    pub(super) fn unpack(&self, files: &[(&str, Utf8PathBuf)]) -> Result<()> {
        let mut sources = Vec::new();
        for (name, to) in files {
            let file = self.index.files.iter().find(|file| file.path == *name);
            sources.push((file.with_context(|| format!("{name} is not in {}", self.folder))?, to));
        }
        let needed: u64 = sources.iter().map(|(file, _)| self.data_bytes(file)).sum();
        if let Some(place) = files.first().and_then(|(_, to)| to.parent()) {
            let stat =
                rustix::fs::statvfs(place.as_std_path()).with_context(|| format!("measure {place}"))?;
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let (needed_words, free_words) = (Bytes(needed), Bytes(free));
            ensure!(
                needed <= free,
                "unpacking takes {needed_words} in {place} and {free_words} are free: free some, or set TMPDIR"
            );
        }
        let mut targets = Vec::new();
        for (file, to) in sources {
            let made = File::create_new(to).with_context(|| format!("make {to}"))?;
            made.set_len(file.bytes).with_context(|| format!("make {to}"))?;
            targets.push((made, self.blocks_of(file)));
        }
        self.each_block(&targets, |target, at, block| Ok(target.write_all_at(block, at)?))
    }

    /// Compares each packed file with the file in `dir` from which it was made, byte for byte.
    ///
    /// # Errors
    /// One differs, or cannot be read.
    pub(super) fn equals_files_in(&self, dir: &Utf8Path) -> Result<()> {
        let mut originals = Vec::new();
        for file in &self.index.files {
            let path = dir.join(&file.path);
            let original = File::open(&path).with_context(|| format!("read {path}"))?;
            ensure!(
                original.metadata()?.len() == file.bytes,
                "{path} has another length than its packed copy"
            );
            let blocks = self.blocks_of(file);
            ensure!(rest_is_zero(&path, &blocks)?, "{path} differs from its packed copy");
            originals.push((original, blocks));
        }
        let mut buffer = Vec::new();
        self.each_block(&originals, |original, at, block| {
            buffer.resize(block.len(), 0);
            original.read_exact_at(&mut buffer, at)?;
            ensure!(buffer == block, "a packed copy differs from its file in {dir} at byte {at}");
            Ok(())
        })
    }

    /// Calls `each` with every block of the files, one pack after the other, so that at most one
    /// is in memory.
    fn each_block(
        &self,
        files: &[Divided],
        mut each: impl FnMut(&File, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut by_pack: Vec<Vec<(&File, u64, Place)>> =
            self.index.packs.iter().map(|_| Vec::new()).collect();
        for (file, blocks) in files {
            for (at, place) in blocks {
                by_pack[place.pack].push((file, *at, *place));
            }
        }
        for (pack, blocks) in self.index.packs.iter().zip(by_pack).filter(|(_, blocks)| !blocks.is_empty()) {
            let content = self.content(pack)?;
            for (file, at, place) in blocks {
                each(file, at, &content[place.offset..place.offset + place.length])?;
            }
        }
        Ok(())
    }

    /// The blocks of a pack, one after the other.
    fn content(&self, pack: &Pack) -> Result<Vec<u8>> {
        let path = self.folder.join(pack.content.file_name());
        let compressed =
            foreign_files::read_at_most(&path, LARGEST_PACK).with_context(|| format!("read {path}"))?;
        ensure!(Digest::of(&compressed) == pack.stored, "{path} is not what the suite wrote");
        let content = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&compressed, pack.bytes())
            .map_err(|error| anyhow!("{path} cannot be decompressed ({error})"))?;
        let whole = content.len() == pack.bytes() && Digest::of(&content) == pack.content;
        ensure!(whole, "{path} holds other blocks than its index says");
        Ok(content)
    }

    fn blocks_of(&self, file: &PackedFile) -> Vec<(u64, Place)> {
        let mut blocks = Vec::new();
        for part in &file.parts {
            let mut at = part.at;
            for place in &self.places[part.first as usize..(part.first + part.count) as usize] {
                blocks.push((at, *place));
                at += place.length as u64;
            }
        }
        blocks
    }

    fn data_bytes(&self, file: &PackedFile) -> u64 {
        self.blocks_of(file).iter().map(|(_, place)| place.length as u64).sum()
    }
}

/// Whether the parts of a file are blocks that exist, in order, and within the file.
fn check_file(file: &PackedFile, places: &[Place]) -> Result<()> {
    let mut end = 0;
    for part in &file.parts {
        let last = part.first.checked_add(part.count).filter(|last| *last <= places.len() as u64);
        let last = last.with_context(|| format!("{} names blocks that do not exist", file.path))?;
        let blocks = &places[part.first as usize..last as usize];
        let bytes: u64 = blocks.iter().map(|place| place.length as u64).sum();
        ensure!(part.at >= end, "parts of {} overlap", file.path);
        end = part.at.checked_add(bytes).filter(|end| *end <= file.bytes).context("a part is too long")?;
    }
    Ok(())
}

/// Whether a file is zero wherever no block is.
fn rest_is_zero(path: &Utf8Path, blocks: &[(u64, Place)]) -> Result<bool> {
    let file = RawSource::open(path.as_std_path())?;
    let starts = blocks.iter().map(|(at, _)| *at).chain([file.stored_bytes()]);
    let ends = [0].into_iter().chain(blocks.iter().map(|(at, place)| at + place.length as u64));
    let mut chunk = vec![0; CHUNK_BYTES as usize];
    for (mut at, end) in ends.zip(starts) {
        while at < end {
            let Some(data) = file.next_data(at)?.filter(|data| data.start < end && data.end > at) else {
                break;
            };
            let start = data.start.max(at);
            let buffer = &mut chunk[..(data.end.min(end) - start).min(CHUNK_BYTES) as usize];
            file.read_at(start, buffer)?;
            if buffer.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = start + buffer.len() as u64;
        }
    }
    Ok(true)
}
