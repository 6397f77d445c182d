//! What a snapshot of a running machine holds of the guest's last writes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use contract::VolumeId;
use witness::random::Random;

use crate::{SimWrite, Snapshot};

/// What snapshots of running machines hold. It stands for the way in which a core captures what a
/// guest writes, of which the platforms of products have several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// The first writes of the guest, and nothing else.
    #[default]
    InOrder,
    /// Everything up to the guest's last flush, and any of the later writes, as on a disk that lost
    /// power.
    PerFlush,
    /// Any of the last writes, whether flushed or not. No core may do that.
    Unordered,
}

/// What snapshots of a site's running machines hold, and when.
#[derive(Clone, Default)]
pub(crate) struct Capturing {
    pub(crate) capture: Capture,
    /// Asked each time that a snapshot is about to lack writes: whether it may.
    pub(crate) may_lack: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl fmt::Debug for Capturing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.capture.fmt(f)
    }
}

impl Capturing {
    /// Whether a snapshot may lack writes now.
    pub(crate) fn may_lack(&self) -> bool {
        self.may_lack.as_ref().is_some_and(|may_lack| may_lack())
    }
}

/// How many of the last writes are considered.
const MOST: usize = 24;

/// The last writes of a guest, each with the content that it overwrote, as far as a snapshot may
/// lack them.
#[derive(Debug, Default)]
pub(crate) struct RecentWrites {
    writes: VecDeque<(SimWrite, Vec<u8>)>,
}

/// What a snapshot holds otherwise than the disks do.
pub(crate) struct Lacking<'a> {
    writes: &'a RecentWrites,
    /// Whether each of the writes is missing.
    missing: Vec<bool>,
}

impl RecentWrites {
    /// Notes a write that is about to be made over this content.
    pub(crate) fn add(&mut self, capture: Capture, write: &SimWrite, before: Vec<u8>) {
        match capture {
            Capture::InOrder => {}
            Capture::PerFlush if write.flushed => self.writes.clear(),
            Capture::PerFlush | Capture::Unordered => self.writes.push_back((write.clone(), before)),
        }
        if self.writes.len() > MOST {
            self.writes.pop_front();
        }
    }

    /// Leaves out half of the writes, at random; `None` if that is none of them.
    pub(crate) fn leave_out(&self, seed: u64) -> Option<Lacking<'_>> {
        let mut random = Random::new(seed);
        let missing: Vec<_> = self.writes.iter().map(|_| random.below(2) == 0).collect();
        missing.contains(&true).then_some(Lacking { writes: self, missing })
    }
}

impl Lacking<'_> {
    /// The content of a disk without the writes that are missing.
    pub(crate) fn of_disk(&self, disk: usize, content: Snapshot) -> Snapshot {
        let on_disk = || self.writes.writes.iter().zip(&self.missing).filter(|((it, _), _)| it.disk == disk);
        if !on_disk().any(|(_, missing)| *missing) {
            return content;
        }
        let undone = on_disk().rev().map(|((write, before), _)| (write.offset, before.clone()));
        let kept = on_disk().filter(|(_, missing)| !**missing);
        let redone = kept.map(|((write, _), _)| (write.offset, write.data()));
        undone.chain(redone).fold(content, |content, (offset, bytes)| content.with(offset, &bytes))
    }

    /// The places of what is missing: volume, offset and length in bytes.
    pub(crate) fn places(&self, volumes: &[VolumeId]) -> Vec<(VolumeId, u64, u64)> {
        let missing = self.writes.writes.iter().zip(&self.missing).filter(|(_, missing)| **missing);
        let place = |((write, _), _): (&(SimWrite, Vec<u8>), &bool)| {
            Some((volumes.get(write.disk)?.clone(), write.offset, u64::from(write.length)))
        };
        missing.filter_map(place).collect()
    }
}
