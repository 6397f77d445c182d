//! A disk in memory for tests of what copies disks: it allows several connections, or not, and
//! fails where it is told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nbd::errno;
use nbd::{ALLOCATION, Export, Extent, Refusal};

use crate::fault_hook::GRAIN;

/// The meta context of the changes.
pub(crate) const CHANGED: &str = "test:changed";

/// What fails on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Reads that reach beyond this byte.
    ReadsFrom(u64),
    /// Writes that reach beyond this byte.
    WritesFrom(u64),
    /// Flushes.
    Flushes,
    /// Writes that reach beyond this byte are acknowledged and lost.
    LosesFrom(u64),
}

/// A disk in memory.
pub(crate) struct RamDisk {
    bytes: Mutex<Vec<u8>>,
    /// For each grain, whether it has changed.
    changed: Vec<bool>,
    several: bool,
    fault: Option<Fault>,
    reads: AtomicU64,
}

impl RamDisk {
    /// A disk with this content.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
            changed: Vec::new(),
            several: true,
            fault: None,
            reads: AtomicU64::new(0),
        }
    }

    /// The same disk with these grains changed.
    pub(crate) fn changed(self, changed: Vec<bool>) -> Self {
        Self { changed, ..self }
    }

    /// The same disk, which allows several connections or not.
    pub(crate) fn several(self, several: bool) -> Self {
        Self { several, ..self }
    }

    /// The same disk with a fault.
    pub(crate) fn fault(self, fault: Option<Fault>) -> Self {
        Self { fault, ..self }
    }

    pub(crate) fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Number of reads so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Export for RamDisk {
    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn can_multi_conn(&self) -> bool {
        self.several
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let end = offset + buffer.len() as u64;
        if matches!(self.fault, Some(Fault::ReadsFrom(from)) if end > from) {
            return Err(Refusal::new("a sector cannot be read", errno::EIO));
        }
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[offset as usize..end as usize]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        let end = offset + data.len() as u64;
        match self.fault {
            Some(Fault::WritesFrom(from)) if end > from => Err(Refusal::new("no room", errno::ENOSPC)),
            Some(Fault::LosesFrom(from)) if end > from => Ok(()),
            _ => {
                self.bytes.lock().unwrap()[offset as usize..end as usize].copy_from_slice(data);
                Ok(())
            }
        }
    }

    fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        self.write(offset, &vec![0; length as usize])
    }

    fn flush(&self) -> Result<(), Refusal> {
        match self.fault {
            Some(Fault::Flushes) => Err(Refusal::new("the cache is broken", errno::EIO)),
            _ => Ok(()),
        }
    }

    fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
        let all = Extent { offset: 0, length: self.size(), flags: 0 };
        let grain = |(index, changed): (usize, &bool)| {
            let offset = index as u64 * GRAIN;
            Extent { offset, length: GRAIN.min(self.size() - offset), flags: u64::from(*changed) }
        };
        Ok(match context {
            ALLOCATION => Some(vec![all]),
            CHANGED => Some(self.changed.iter().enumerate().map(grain).collect()),
            _ => None,
        })
    }
}
