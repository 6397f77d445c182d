//! A disk without content, which a faulty core reads instead of one of the site's.

use std::sync::Arc;

use contract::{Bytes, DiskSnapshot};
use nbd::{ALLOCATION, Export, Extent, Refusal, Served, errno};

/// The context of changes of a disk whose site names none.
const UNCHANGED: &str = "roundtrip:unchanged";

/// A disk of zeroes that cannot be written. Of changes it knows none.
pub(super) struct Blank {
    size: u64,
    contexts: Vec<String>,
}

impl Blank {
    /// Shows a snapshot as if nothing had changed, and returns what serves its disks.
    pub(super) fn show_unchanged(snapshot: &mut DiskSnapshot) -> Vec<Served> {
        let id = snapshot.id.clone();
        snapshot.changes_unavailable = None;
        let disks = snapshot.disks.iter_mut();
        disks
            .map(|disk| {
                let context = disk.changed.get_or_insert_with(|| UNCHANGED.to_owned());
                let served = Self::serve_with(&format!("{id}-{}", disk.id), disk.size, Some(context));
                disk.uri = served.uri();
                served
            })
            .collect()
    }

    /// Serves a disk of this size to this process, which offers the contexts of a copy.
    pub(super) fn serve(name: &str, size: Bytes) -> Served {
        Self::serve_with(name, size, None)
    }

    /// Serves a disk of this size to this process. In the context `changed` nothing has changed.
    pub(super) fn serve_with(name: &str, size: Bytes, changed: Option<&str>) -> Served {
        let contexts = [Some(ALLOCATION), changed].into_iter().flatten().map(ToOwned::to_owned).collect();
        nbd::serve(&format!("blank-{name}"), Arc::new(Self { size: size.0, contexts }))
    }
}

impl Export for Blank {
    fn size(&self) -> u64 {
        self.size
    }

    fn writable(&self) -> bool {
        false
    }

    fn contexts(&self) -> Vec<String> {
        self.contexts.clone()
    }

    fn read(&self, _offset: u64, buffer: &mut [u8]) -> Result<(), Refusal> {
        buffer.fill(0);
        Ok(())
    }

    fn write(&self, _offset: u64, _data: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::new("the disk cannot be written", errno::EPERM))
    }

    fn zero(&self, _offset: u64, _length: u64) -> Result<(), Refusal> {
        Err(Refusal::new("the disk cannot be written", errno::EPERM))
    }

    fn flush(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal> {
        let flags = if context == ALLOCATION { 3 } else { 0 };
        let all = Extent { offset: 0, length: self.size, flags };
        Ok(self.contexts.iter().any(|known| known == context).then(|| vec![all]))
    }
}
