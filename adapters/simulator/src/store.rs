//! The volumes of a site: chains of layers, with bitmaps that track changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use contract::{Bytes, ChangeId, VolumeId};
use inventory::Volumes;
use nbd::Extent;

use crate::content::{Chunk, Layer, Snapshot, cover, pieces};

/// Tracks which grains of a volume changed since a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bitmap {
    /// Whether writes are still being recorded in it.
    pub(crate) enabled: bool,
    /// Indices of grains.
    dirty: BTreeSet<u64>,
}

/// A volume.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) size: u64,
    pub(crate) parent: Option<VolumeId>,
    layer: Arc<Layer>,
    bitmaps: BTreeMap<ChangeId, Bitmap>,
}

/// All volumes of a site.
#[derive(Debug)]
pub(crate) struct Store {
    volumes: BTreeMap<VolumeId, Volume>,
    /// Deltas over each volume.
    children: BTreeMap<VolumeId, BTreeSet<VolumeId>>,
    /// Granularity of storage, in bytes.
    chunk: u64,
    /// Granularity of change tracking, in bytes.
    grain: u64,
}

/// Names the volume that is missing.
pub(crate) type Broken = String;

impl Store {
    pub(crate) fn new(chunk: u64, grain: u64) -> Self {
        Self {
            volumes: BTreeMap::new(),
            children: BTreeMap::new(),
            chunk: chunk.max(512),
            grain: grain.max(512),
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
        let volume =
            Volume { size, parent: parent.cloned(), layer: Arc::default(), bitmaps: BTreeMap::default() };
        self.volumes.insert(id.clone(), volume);
        if let Some(parent) = parent {
            self.children.entry(parent.clone()).or_default().insert(id.clone());
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

    pub(crate) fn write(&mut self, id: &VolumeId, offset: u64, data: &[u8]) -> Result<(), Broken> {
        let mut rest = data;
        for (index, within, length) in pieces(self.chunk, offset, data.len() as u64) {
            let (piece, after) = rest.split_at(length);
            self.write_chunk(id, index, within, piece)?;
            rest = after;
        }
        self.mark(id, offset, data.len() as u64);
        Ok(())
    }

    pub(crate) fn zero(&mut self, id: &VolumeId, offset: u64, length: u64) -> Result<(), Broken> {
        let zeroes = vec![0; self.chunk as usize];
        for (index, within, length) in pieces(self.chunk, offset, length) {
            self.write_chunk(id, index, within, &zeroes[..length])?;
        }
        self.mark(id, offset, length);
        Ok(())
    }

    fn write_chunk(&mut self, id: &VolumeId, index: u64, within: usize, piece: &[u8]) -> Result<(), Broken> {
        let own = self.find(id)?.layer.chunks.contains_key(&index);
        let below = if own { None } else { self.chunk_of(id, index)? };
        let volume = self.volumes.get_mut(id).ok_or_else(|| format!("there is no volume {id}"))?;
        let chunks = &mut Arc::make_mut(&mut volume.layer).chunks;
        let range = within..within + piece.len();
        let mut bytes = match chunks.remove(&index) {
            Some(Chunk::Data(bytes)) => bytes,
            Some(Chunk::Zero) | None => below.clone().unwrap_or_else(|| vec![0; self.chunk as usize].into()),
        };
        if bytes[range.clone()] != *piece {
            Arc::make_mut(&mut bytes)[range].copy_from_slice(piece);
        }
        if is_zero(&bytes) {
            // Without a parent, absent chunks read as zeroes.
            if volume.parent.is_some() {
                chunks.insert(index, Chunk::Zero);
            }
        } else {
            chunks.insert(index, Chunk::Data(bytes));
        }
        Ok(())
    }

    fn mark(&mut self, id: &VolumeId, offset: u64, length: u64) {
        let grain = self.grain;
        let Some(volume) = self.volumes.get_mut(id) else { return };
        for bitmap in volume.bitmaps.values_mut().filter(|bitmap| bitmap.enabled) {
            bitmap.dirty.extend(pieces(grain, offset, length).map(|(index, ..)| index));
        }
    }

    /// Merges the volumes from `merged[0]` down to the last of them into `base`, makes the base the
    /// parent of the deltas over the first, and removes the merged volumes.
    pub(crate) fn merge(&mut self, merged: &[VolumeId], base: &VolumeId) {
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

    /// Starts to track changes of a volume.
    pub(crate) fn track(&mut self, id: &VolumeId, change: &ChangeId) {
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.bitmaps.insert(change.clone(), Bitmap { enabled: true, dirty: BTreeSet::new() });
        }
    }

    pub(crate) fn tracks(&self, id: &VolumeId, change: &ChangeId) -> bool {
        self.volumes.get(id).is_some_and(|volume| volume.bitmaps.contains_key(change))
    }

    /// Stops recording; what was recorded is kept.
    pub(crate) fn freeze(&mut self, id: &VolumeId, change: &ChangeId) {
        if let Some(bitmap) = self.volumes.get_mut(id).and_then(|volume| volume.bitmaps.get_mut(change)) {
            bitmap.enabled = false;
        }
    }

    pub(crate) fn forget(&mut self, id: &VolumeId, change: &ChangeId) {
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.bitmaps.remove(change);
        }
    }

    pub(crate) fn forget_all(&mut self, id: &VolumeId) {
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.bitmaps.clear();
        }
    }

    /// Resumes `older` as if it had never been frozen: it takes over what `newer` has recorded
    /// since.
    pub(crate) fn rejoin(&mut self, id: &VolumeId, older: &ChangeId, newer: &ChangeId) {
        let Some(volume) = self.volumes.get_mut(id) else { return };
        let since = volume.bitmaps.remove(newer).unwrap_or_default();
        if let Some(bitmap) = volume.bitmaps.get_mut(older) {
            bitmap.enabled = true;
            bitmap.dirty.extend(since.dirty);
        }
    }

    /// The changes since `change`, for the whole volume; flag 1 marks them.
    pub(crate) fn changed(&self, id: &VolumeId, change: &ChangeId) -> Option<Vec<Extent>> {
        let volume = self.volumes.get(id)?;
        let runs = volume.bitmaps.get(change)?.dirty.iter().map(|index| (index * self.grain, self.grain));
        Some(cover(volume.size, runs, 1, 0))
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

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
