//! The volumes of a site: chains of layers, with bitmaps that track changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use contract::{Bytes, ChangeId, VolumeId};
use inventory::Volumes;

use crate::Storage;
use crate::content::{Chunk, Layer, Snapshot, pieces};
use crate::write_cache::{Change, WriteCache};

/// Tracks which grains of a volume changed since a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    /// Whether writes are still being recorded in it.
    pub(crate) enabled: bool,
    /// Indices of grains.
    pub(crate) dirty: BTreeSet<u64>,
}

/// A volume.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) size: u64,
    pub(crate) parent: Option<VolumeId>,
    layer: Arc<Layer>,
    /// What would be lost of the layer with the site; `None`: nothing.
    cache: Option<WriteCache>,
    pub(crate) bitmaps: BTreeMap<ChangeId, Bitmap>,
}

/// All volumes of a site.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) volumes: BTreeMap<VolumeId, Volume>,
    /// Deltas over each volume.
    children: BTreeMap<VolumeId, BTreeSet<VolumeId>>,
    /// Granularity of storage, in bytes.
    chunk: u64,
    /// Granularity of change tracking, in bytes.
    pub(crate) grain: u64,
    /// Whether changes are recorded.
    pub(crate) records: bool,
}

/// Names the volume that is missing.
pub(crate) type Broken = String;

/// Which version of a volume's own content is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// What can be read now.
    Current,
    /// What a loss of the site would leave.
    Durable,
}

/// A part of a chunk that is written.
struct Part<'a> {
    /// Its first byte within the chunk.
    within: usize,
    bytes: &'a [u8],
    /// The chunk that the same write has filled before this one. An equal one shares its content.
    before: Option<Arc<[u8]>>,
}

impl Part<'_> {
    /// The content of a chunk of `size` bytes after the write; `None` stands for zeroes.
    fn over(self, current: Option<Arc<[u8]>>, size: usize) -> Option<Arc<[u8]>> {
        let range = self.within..self.within + self.bytes.len();
        match current {
            Some(bytes) if bytes[range.clone()] == *self.bytes => Some(bytes),
            None if is_zero(self.bytes) => None,
            _ if self.bytes.len() == size => {
                let equal = self.before.filter(|before| **before == *self.bytes);
                (!is_zero(self.bytes)).then(|| equal.unwrap_or_else(|| self.bytes.into()))
            }
            current => {
                let mut bytes = current.unwrap_or_else(|| vec![0; size].into());
                Arc::make_mut(&mut bytes)[range].copy_from_slice(self.bytes);
                (!is_zero(&bytes)).then_some(bytes)
            }
        }
    }
}

impl Store {
    pub(crate) fn new(storage: Storage) -> Self {
        Self {
            volumes: BTreeMap::new(),
            children: BTreeMap::new(),
            chunk: storage.chunk.max(512),
            grain: storage.grain.max(512),
            records: true,
        }
    }

    pub(crate) fn get(&self, id: &VolumeId) -> Option<&Volume> {
        self.volumes.get(id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &VolumeId> {
        self.volumes.keys()
    }

    /// Bytes allocated for a volume itself, without those below it.
    pub(crate) fn allocated(&self, id: &VolumeId) -> u64 {
        self.volumes.get(id).map_or(0, |volume| volume.layer.filled() * self.chunk)
    }

    pub(crate) fn insert(&mut self, id: &VolumeId, size: u64, parent: Option<&VolumeId>) {
        let volume = Volume {
            size,
            parent: parent.cloned(),
            layer: Arc::default(),
            cache: None,
            bitmaps: BTreeMap::default(),
        };
        self.volumes.insert(id.clone(), volume);
        if let Some(parent) = parent {
            self.children.entry(parent.clone()).or_default().insert(id.clone());
        }
    }

    /// Makes a volume larger. The new end reads as zeroes.
    pub(crate) fn grow(&mut self, id: &VolumeId, by: u64) {
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.size += by;
        }
    }

    pub(crate) fn remove(&mut self, id: &VolumeId) {
        let Some(volume) = self.volumes.remove(id) else { return };
        if let Some(parent) = &volume.parent {
            self.remove_child(parent, id);
        }
    }

    fn remove_child(&mut self, parent: &VolumeId, child: &VolumeId) {
        if let Some(children) = self.children.get_mut(parent) {
            children.remove(child);
            if children.is_empty() {
                self.children.remove(parent);
            }
        }
    }

    /// A delta over the volume, if there is one.
    pub(crate) fn first_child(&self, id: &VolumeId) -> Option<&VolumeId> {
        self.children.get(id)?.first()
    }

    /// The volume and all deltas over it, directly or indirectly.
    pub(crate) fn above(&self, base: &VolumeId) -> BTreeSet<VolumeId> {
        let mut all = BTreeSet::from([base.clone()]);
        let mut open = vec![base];
        while let Some(id) = open.pop() {
            for child in self.children.get(id).into_iter().flatten() {
                all.insert(child.clone());
                open.push(child);
            }
        }
        all
    }

    /// The current content.
    pub(crate) fn snapshot(&self, id: &VolumeId) -> Result<Snapshot, Broken> {
        let size = self.find(id)?.size;
        let chain = self.chain(id);
        let layers = chain.iter().map(|id| self.find(id).map(|volume| Arc::clone(&volume.layer)));
        Ok(Snapshot::new(layers.collect::<Result<_, _>>()?, size, self.chunk))
    }

    fn find(&self, id: &VolumeId) -> Result<&Volume, Broken> {
        self.volumes.get(id).ok_or_else(|| format!("there is no volume {id}"))
    }

    pub(crate) fn read(&self, id: &VolumeId, offset: u64, buffer: &mut [u8]) -> Result<(), Broken> {
        let mut rest = buffer;
        for (index, within, length) in pieces(self.chunk, offset, rest.len() as u64) {
            let (piece, after) = rest.split_at_mut(length);
            match self.chunk_of(id, index)? {
                Some(bytes) => piece.copy_from_slice(&bytes[within..within + length]),
                None => piece.fill(0),
            }
            rest = after;
        }
        Ok(())
    }

    /// Content of a chunk in the volume or the nearest one below that has it; `None` if it reads as
    /// zeroes.
    fn chunk_of(&self, id: &VolumeId, index: u64) -> Result<Option<Arc<[u8]>>, Broken> {
        let mut next = Some(id);
        while let Some(id) = next {
            let volume = self.find(id)?;
            match volume.layer.chunks.get(&index) {
                Some(Chunk::Data(bytes)) => return Ok(Some(Arc::clone(bytes))),
                Some(Chunk::Zero) => return Ok(None),
                None => next = volume.parent.as_ref(),
            }
        }
        Ok(None)
    }

    /// Additional bytes that a write would allocate.
    pub(crate) fn room_for(&self, id: &VolumeId, offset: u64, length: u64) -> u64 {
        let Some(volume) = self.volumes.get(id) else { return 0 };
        let filled = |index: &u64| matches!(volume.layer.chunks.get(index), Some(Chunk::Data(_)));
        pieces(self.chunk, offset, length).filter(|(index, ..)| !filled(index)).count() as u64 * self.chunk
    }

    /// Writes what is durable at once.
    pub(crate) fn write(&mut self, id: &VolumeId, offset: u64, data: &[u8]) -> Result<(), Broken> {
        self.change(id, offset, &Change::Data(data))
    }

    /// Makes a range read as zeroes, durably. Takes time and space only for chunks that hold data.
    #[cfg(test)]
    pub(crate) fn zero(&mut self, id: &VolumeId, offset: u64, length: u64) -> Result<(), Broken> {
        self.change(id, offset, &Change::Zeroes(length))
    }

    fn change(&mut self, id: &VolumeId, offset: u64, change: &Change<'_>) -> Result<(), Broken> {
        self.apply(id, offset, change, Version::Current)?;
        if self.find(id)?.cache.is_some() {
            self.apply(id, offset, change, Version::Durable)?;
        }
        self.mark(id, offset, change.length());
        Ok(())
    }

    /// Writes what the loss of the site undoes until the client flushes it.
    pub(crate) fn write_cached(
        &mut self,
        id: &VolumeId,
        client: u64,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Broken> {
        self.change_cached(id, client, offset, &Change::Data(data))
    }

    /// Makes a range read as zeroes, until the loss of the site undoes it or the client flushes it.
    pub(crate) fn zero_cached(
        &mut self,
        id: &VolumeId,
        client: u64,
        offset: u64,
        length: u64,
    ) -> Result<(), Broken> {
        self.change_cached(id, client, offset, &Change::Zeroes(length))
    }

    fn change_cached(
        &mut self,
        id: &VolumeId,
        client: u64,
        offset: u64,
        change: &Change<'_>,
    ) -> Result<(), Broken> {
        let volume = self.volumes.get_mut(id).ok_or_else(|| format!("there is no volume {id}"))?;
        let durable = &volume.layer;
        let cache = volume.cache.get_or_insert_with(|| WriteCache::over(durable));
        cache.add(client, offset, change);
        self.apply(id, offset, change, Version::Current)?;
        self.mark(id, offset, change.length());
        Ok(())
    }

    /// Makes durable what a client has written to a volume.
    pub(crate) fn flush(&mut self, id: &VolumeId, client: u64) -> Result<(), Broken> {
        let Some(cache) = self.volumes.get_mut(id).and_then(|volume| volume.cache.as_mut()) else {
            return Ok(());
        };
        let flushed = cache.take(client);
        if cache.is_empty() {
            return self.keep_all(id);
        }
        for (offset, change) in &flushed {
            self.apply(id, *offset, &change.borrowed(), Version::Durable)?;
        }
        Ok(())
    }

    /// Makes all of a volume durable as it is.
    fn keep_all(&mut self, id: &VolumeId) -> Result<(), Broken> {
        let volume = self.volumes.get_mut(id).ok_or_else(|| format!("there is no volume {id}"))?;
        volume.cache = None;
        Ok(())
    }

    /// Undoes everything that is not durable, as the loss of the site does.
    pub(crate) fn lose_caches(&mut self) {
        for volume in self.volumes.values_mut() {
            if let Some(cache) = volume.cache.take() {
                volume.layer = cache.into_durable();
            }
        }
    }

    fn apply(&mut self, id: &VolumeId, offset: u64, change: &Change<'_>, to: Version) -> Result<(), Broken> {
        match change {
            Change::Data(data) => self.put(id, offset, data, to),
            Change::Zeroes(length) => self.clear(id, offset, *length, to),
        }
    }

    fn put(&mut self, id: &VolumeId, offset: u64, data: &[u8], to: Version) -> Result<(), Broken> {
        let (mut rest, mut before) = (data, None);
        for (index, within, length) in pieces(self.chunk, offset, data.len() as u64) {
            let (piece, after) = rest.split_at(length);
            before = self.put_chunk(id, index, Part { within, bytes: piece, before }, to)?;
            rest = after;
        }
        Ok(())
    }

    fn clear(&mut self, id: &VolumeId, offset: u64, length: u64, to: Version) -> Result<(), Broken> {
        let end = offset + length;
        let whole = offset.div_ceil(self.chunk)..end / self.chunk;
        let edges = match whole.is_empty() {
            true => [offset..end, end..end],
            false => [offset..whole.start * self.chunk, whole.end * self.chunk..end],
        };
        let zeroes = vec![0; self.chunk as usize];
        for edge in edges {
            for (index, within, length) in pieces(self.chunk, edge.start, edge.end - edge.start) {
                let part = Part { within, bytes: &zeroes[..length], before: None };
                self.put_chunk(id, index, part, to)?;
            }
        }
        self.clear_chunks(id, whole, to)
    }

    /// Makes whole chunks read as zeroes.
    fn clear_chunks(&mut self, id: &VolumeId, whole: Range<u64>, to: Version) -> Result<(), Broken> {
        let mut filled = BTreeSet::new();
        if whole.is_empty() {
            return Ok(());
        }
        for volume in self.chain(id) {
            let volume = self.find(&volume)?;
            let cached = volume.cache.iter().map(WriteCache::durable);
            for layer in cached.chain([&volume.layer]) {
                filled.extend(layer.chunks.range(whole.clone()).map(|(index, _)| *index));
            }
        }
        let (chunks, has_parent) = self.chunks_mut(id, to)?;
        for index in filled {
            match has_parent {
                true => chunks.insert(index, Chunk::Zero),
                false => chunks.remove(&index),
            };
        }
        Ok(())
    }

    /// The own chunks of a volume, and whether there is a volume below.
    fn chunks_mut(
        &mut self,
        id: &VolumeId,
        to: Version,
    ) -> Result<(&mut BTreeMap<u64, Chunk>, bool), Broken> {
        let volume = self.volumes.get_mut(id).ok_or_else(|| format!("there is no volume {id}"))?;
        let layer = match (to, &mut volume.cache) {
            (Version::Durable, Some(cache)) => cache.durable_mut(),
            _ => &mut volume.layer,
        };
        Ok((&mut Arc::make_mut(layer).chunks, volume.parent.is_some()))
    }

    /// Writes into one chunk. Returns its content; `None` if it reads as zeroes.
    fn put_chunk(
        &mut self,
        id: &VolumeId,
        index: u64,
        part: Part<'_>,
        to: Version,
    ) -> Result<Option<Arc<[u8]>>, Broken> {
        let below = match self.find(id)?.parent.clone() {
            Some(parent) => self.chunk_of(&parent, index)?,
            None => None,
        };
        let size = self.chunk as usize;
        let (chunks, has_parent) = self.chunks_mut(id, to)?;
        let current = match chunks.remove(&index) {
            Some(Chunk::Data(bytes)) => Some(bytes),
            Some(Chunk::Zero) => None,
            None => below,
        };
        let content = part.over(current, size);
        match &content {
            Some(bytes) => drop(chunks.insert(index, Chunk::Data(Arc::clone(bytes)))),
            // Without a parent, absent chunks read as zeroes.
            None if has_parent => drop(chunks.insert(index, Chunk::Zero)),
            None => {}
        }
        Ok(content)
    }

    /// Merges the volumes from `merged[0]` down to the last of them into `base`, makes the base the
    /// parent of the deltas over the first, and removes the merged volumes. The result is durable.
    pub(crate) fn merge(&mut self, merged: &[VolumeId], base: &VolumeId) {
        if let Some(volume) = self.volumes.get_mut(base) {
            volume.cache = None;
        }
        for id in merged.iter().rev() {
            let Some(layer) = self.volumes.get(id).map(|volume| Arc::clone(&volume.layer)) else { continue };
            self.absorb(base, &layer);
        }
        let on_top = merged.first().and_then(|top| self.children.remove(top)).unwrap_or_default();
        for child in on_top {
            if let Some(volume) = self.volumes.get_mut(&child) {
                volume.parent = Some(base.clone());
                self.children.entry(base.clone()).or_default().insert(child);
            }
        }
        merged.iter().for_each(|id| self.remove(id));
    }

    fn absorb(&mut self, base: &VolumeId, layer: &Layer) {
        let Some(volume) = self.volumes.get_mut(base) else { return };
        let chunks = &mut Arc::make_mut(&mut volume.layer).chunks;
        for (index, chunk) in &layer.chunks {
            match chunk {
                Chunk::Zero if volume.parent.is_none() => drop(chunks.remove(index)),
                _ => drop(chunks.insert(*index, chunk.clone())),
            }
        }
        for index in layer.chunks.keys() {
            self.mark(base, index * self.chunk, self.chunk);
        }
    }
}

impl Volumes for Store {
    fn size_of(&self, volume: &VolumeId) -> Option<Bytes> {
        self.volumes.get(volume).map(|volume| Bytes(volume.size))
    }

    fn parent_of(&self, volume: &VolumeId) -> Option<&VolumeId> {
        self.volumes.get(volume)?.parent.as_ref()
    }
}

/// A block of zeroes to compare with, which is faster than looking at each byte.
static ZEROES: [u8; 4096] = [0; 4096];

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROES.len()).all(|block| *block == ZEROES[..block.len()])
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
