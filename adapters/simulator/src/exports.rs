//! Exports that clients connect to: the disks of snapshots, and volumes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use contract::VolumeId;
use nbd::errno;
use nbd::{ALLOCATION, Export, Extent, Refusal};

use crate::content::HOLE_AND_ZERO;
use crate::extents::{Division, Telling};
use crate::faults::Faults;
use crate::state::State;
use crate::tracker_lies::without_second_half;
use crate::{SimSite, Snapshot};

/// A disk of a snapshot, read over the site's link.
pub(crate) struct SnapshotExport {
    content: Snapshot,
    /// Meta context for changes, with its extents.
    changed: Option<(String, Vec<Extent>)>,
    division: Division,
    faults: Arc<Faults>,
    /// Bytes read from all disks of the snapshot.
    bytes: Arc<AtomicU64>,
    reads: AtomicU64,
}

impl SnapshotExport {
    pub(crate) fn new(
        content: Snapshot,
        changed: Option<(String, Vec<Extent>)>,
        division: Division,
        faults: Arc<Faults>,
        bytes: Arc<AtomicU64>,
    ) -> Self {
        Self { content, changed, division, faults, bytes, reads: AtomicU64::new(0) }
    }

    /// Which parts hold data, as the site says.
    fn allocation(&self) -> Vec<Extent> {
        let extents = self.content.allocation();
        match self.faults.allocation_lies() {
            true => without_second_half(extents, self.content.size(), HOLE_AND_ZERO),
            false => extents,
        }
    }
}

impl Export for SnapshotExport {
    fn size(&self) -> u64 {
        self.content.size()
    }

    fn writable(&self) -> bool {
        false
    }

    fn contexts(&self) -> Vec<String> {
        let is_there = |_: &_| self.faults.has_list_of_changes();
        let changed = self.changed.iter().filter(is_there).map(|(name, _)| name.clone());
        std::iter::once(ALLOCATION.to_owned()).chain(changed).collect()
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        self.faults.snapshot_read(self.reads.fetch_add(1, Ordering::Relaxed) + 1)?;
        self.content.read(offset, buffer);
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Result<(), Refusal> {
        Err(read_only())
    }

    fn zero(&self, _offset: u64, _length: u64) -> Result<(), Refusal> {
        Err(read_only())
    }

    fn flush(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
        self.faults.export_answers()?;
        Ok(match &self.changed {
            Some((name, extents)) if name == context && self.faults.has_list_of_changes() => {
                self.faults.tracker_answers()?;
                Some(self.division.of(extents.clone(), Telling::Changes))
            }
            _ => (context == ALLOCATION).then(|| self.division.of(self.allocation(), Telling::Data)),
        })
    }

    fn extents_at_once(&self) -> usize {
        self.division.at_once()
    }
}

/// An open volume, as one client sees it. What the client writes can be seen at once, and survives
/// the loss of the site once the client has flushed it.
#[derive(Clone)]
pub(crate) struct VolumeExport {
    site: Weak<SimSite>,
    volume: VolumeId,
    size: u64,
    writable: bool,
    division: Division,
    /// The client: its number at the site.
    client: u64,
}

impl VolumeExport {
    pub(crate) fn new(
        site: Weak<SimSite>,
        volume: VolumeId,
        size: u64,
        writable: bool,
        division: Division,
    ) -> Self {
        Self { site, volume, size, writable, division, client: 0 }
    }

    /// Executes a request on the current state of the volume.
    fn ask<T>(&self, request: impl FnOnce(&SimSite, &mut State) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let site = self.site.upgrade().ok_or_else(|| Refusal::new("the site is gone", errno::ENOTCONN))?;
        let answer = site.faults().export_answers().and_then(|()| {
            let now = site.clock().micros();
            site.with(|state| {
                state.catch_up_on(&self.volume, now);
                request(&site, state)
            })
        });
        // Dropping the last reference to a site closes its exports and waits for their requests, of
        // which this is one.
        if let Some(site) = Arc::into_inner(site) {
            std::thread::spawn(move || drop(site));
        }
        answer
    }

    /// Executes a request that changes `length` bytes at `offset`; with `stores` they need space.
    fn change(
        &self,
        offset: u64,
        length: u64,
        stores: bool,
        request: impl FnOnce(&mut State) -> Result<(), String>,
    ) -> Result<(), Refusal> {
        if !self.writable {
            return Err(read_only());
        }
        self.ask(|site, state| {
            let room = if stores { state.store.room_for(&self.volume, offset, length) } else { 0 };
            site.faults().export_write(room)?;
            request(state).map_err(broken)?;
            site.count_written(if stores { length } else { 0 });
            Ok(())
        })
    }
}

impl Export for VolumeExport {
    fn size(&self) -> u64 {
        self.size
    }

    fn writable(&self) -> bool {
        self.writable
    }

    fn connect(&self) -> Option<Arc<dyn Export>> {
        let count = |state: &mut State| {
            state.clients += 1;
            Ok(state.clients)
        };
        let client = self.ask(|_, state| count(state)).ok()?;
        Some(Arc::new(Self { client, ..self.clone() }))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        self.ask(|site, state| {
            site.count_read(buffer.len() as u64);
            state.store.read(&self.volume, offset, buffer).map_err(broken)
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        let length = data.len() as u64;
        self.change(offset, length, true, |state| {
            state.store.write_cached(&self.volume, self.client, offset, data)
        })
    }

    fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        self.change(offset, length, false, |state| {
            state.store.zero_cached(&self.volume, self.client, offset, length)
        })
    }

    fn flush(&self) -> Result<(), Refusal> {
        self.ask(|_, state| state.store.flush(&self.volume, self.client).map_err(broken))
    }

    fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
        if context != ALLOCATION {
            return Ok(None);
        }
        let extents =
            self.ask(|_, state| Ok(state.store.snapshot(&self.volume).map_err(broken)?.allocation()))?;
        Ok(Some(self.division.of(extents, Telling::Data)))
    }

    fn extents_at_once(&self) -> usize {
        self.division.at_once()
    }
}

fn read_only() -> Refusal {
    Refusal::new("the export is read-only", errno::EPERM)
}

fn broken(what: String) -> Refusal {
    Refusal::new(what, errno::EIO)
}
