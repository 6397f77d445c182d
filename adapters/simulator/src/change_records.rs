//! The bitmaps that track the changes of volumes.

use std::collections::{BTreeMap, BTreeSet};

use contract::{ChangeId, VolumeId};
use nbd::Extent;

use crate::content::{cover, pieces};
use crate::store::{Bitmap, Store};

impl Store {
    /// Records that a range of a volume has changed.
    pub(crate) fn mark(&mut self, id: &VolumeId, offset: u64, length: u64) {
        let grain = self.grain;
        let Some(volume) = self.volumes.get_mut(id).filter(|_| self.records) else { return };
        for bitmap in volume.bitmaps.values_mut().filter(|bitmap| bitmap.enabled) {
            bitmap.dirty.extend(pieces(grain, offset, length).map(|(index, ..)| index));
        }
    }

    /// Whether changes are recorded from now on, for all volumes.
    pub(crate) fn record_changes(&mut self, records: bool) {
        self.records = records;
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
        self.replace_records(id, BTreeMap::new());
    }

    /// Tracks the changes of a volume since the moments of another one, as if there were none so
    /// far.
    pub(crate) fn track_anew(&mut self, id: &VolumeId, like: &VolumeId) {
        let records = self.volumes.get(like).map(|volume| volume.bitmaps.keys().cloned());
        let empty = |change| (change, Bitmap { enabled: true, dirty: BTreeSet::new() });
        self.replace_records(id, records.into_iter().flatten().map(empty).collect());
    }

    fn replace_records(&mut self, id: &VolumeId, records: BTreeMap<ChangeId, Bitmap>) {
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.bitmaps = records;
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
