//! Snapshots of all disks at one moment, and the changes since an earlier snapshot.
//!
//! From the first request on, every disk always has one device-mapper snapshot. It provides the
//! content of the open snapshot, and it records what is written until the next one. Its store is a
//! RAM disk. If the store overflows, the machine is not affected, but the snapshot becomes
//! unreadable and no changes are known at the next one, so that the client has to compare the whole
//! disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::change_set::{ChangeSet, Changes};
use crate::changes::{self, CHUNK_SECTORS, Chunks};
use crate::device;
use crate::dm_stack;
use crate::exports::{ExportedDisk, Exports};
use crate::mapper::{Mapper, Target};
use agent::protocol::Disk;

const SECTOR: u64 = 512;
/// Stores per disk: one in use, one for the next snapshot.
const STORES: usize = 2;

/// One disk with its snapshots.
struct Tracked {
    name: String,
    serial: String,
    bytes: u64,
    /// Index among the disks, which determines its stores.
    index: usize,
    /// The index of the store of its current snapshot, and the node of the snapshot.
    active: Option<(usize, PathBuf)>,
}

impl Tracked {
    fn store(&self, which: usize) -> PathBuf {
        Path::new("/dev").join(format!("ram{}", self.index * STORES + which))
    }

    fn snapshot(&self, which: usize) -> String {
        format!("{}-snapshot{which}", self.name)
    }

    fn spare(&self) -> usize {
        self.active.as_ref().map_or(0, |(which, _)| (which + 1) % STORES)
    }
}

/// All disks and their accumulated changes.
pub(crate) struct Tracker {
    mapper: Mapper,
    disks: Vec<Tracked>,
    exports: Arc<Exports>,
    changes: ChangeSet,
    /// Name of the open snapshot.
    open: Option<String>,
    /// Distinguishes this start of the agent from all others.
    start: String,
    snapshots: u64,
}

impl Tracker {
    /// Starts tracking. Snapshots left by an earlier start of the agent are removed; the changes
    /// they recorded are lost.
    pub(crate) fn start(exports: Arc<Exports>) -> Result<Self, String> {
        let mapper = Mapper::open()?;
        let mut disks = Vec::new();
        for (index, name) in dm_stack::disks()?.into_iter().enumerate() {
            let sectors = dm_stack::sectors(&Path::new("/sys/class/block").join(&name))?;
            let serial = dm_stack::serial(&name)?;
            let disk = Tracked { name, serial, bytes: sectors * SECTOR, index, active: None };
            mapper.resume(&disk.name)?;
            for which in 0..STORES {
                mapper.remove(&disk.snapshot(which))?;
            }
            disks.push(disk);
        }
        let start = fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(|e| e.to_string())?;
        let start = start.trim().to_owned();
        Ok(Self { mapper, disks, exports, changes: ChangeSet::default(), open: None, start, snapshots: 0 })
    }

    /// All disks.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let shown = |disk: &Tracked| Disk { serial: disk.serial.clone(), bytes: disk.bytes };
        self.disks.iter().map(shown).collect()
    }

    /// Takes a snapshot. Returns its name, and whether the changes since `since` are known.
    pub(crate) fn open(&mut self, since: Option<&str>) -> Result<(String, bool), String> {
        if self.disks.is_empty() {
            return Err(
                "no disk has a device-mapper stack: the agent was not there when they were mounted".into()
            );
        }
        self.end_open_snapshot()?;
        let made = self.prepare()?;
        let frozen = self.freeze();
        let before: Vec<_> = match &frozen {
            Ok(()) => self.disks.iter_mut().zip(made).map(|(disk, made)| disk.active.replace(made)).collect(),
            // The prepared snapshots are not needed.
            Err(_) => made.into_iter().map(Some).collect(),
        };
        let recorded = self.retire(before);
        frozen?;
        // If the changes could not be read they are unknown, and must not be reported.
        self.changes.add(recorded.as_ref().ok().cloned().flatten());
        recorded?;
        self.snapshots += 1;
        let change = format!("{}-{}", self.start, self.snapshots);
        let known = self.changes.since(since).cloned();
        self.exports.show(self.exported(known.as_ref()));
        self.open = Some(change.clone());
        Ok((change, known.is_some()))
    }

    /// Closes a snapshot. If its content reached its destination, changes count from there.
    pub(crate) fn close(&mut self, change: &str, acknowledge: bool) -> Result<(), String> {
        if self.open.as_deref() != Some(change) {
            return Ok(());
        }
        self.end_open_snapshot()?;
        if acknowledge {
            self.changes.acknowledge(change, self.disks.len());
        }
        Ok(())
    }

    /// Stops change tracking.
    pub(crate) fn forget(&mut self) -> Result<(), String> {
        self.end_open_snapshot()?;
        let active: Vec<_> = self.disks.iter_mut().map(|disk| disk.active.take()).collect();
        self.changes = ChangeSet::default();
        self.retire(active).map(drop)
    }

    fn end_open_snapshot(&mut self) -> Result<(), String> {
        self.open = None;
        self.exports.hide()
    }

    /// Creates the next snapshot of every disk, still inactive.
    fn prepare(&self) -> Result<Vec<(usize, PathBuf)>, String> {
        let mut made = Vec::new();
        for disk in &self.disks {
            match self.make_snapshot(disk) {
                Ok(snapshot) => made.push(snapshot),
                Err(error) => {
                    for (disk, (which, _)) in self.disks.iter().zip(&made) {
                        self.mapper.remove(&disk.snapshot(*which))?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    fn make_snapshot(&self, disk: &Tracked) -> Result<(usize, PathBuf), String> {
        let which = disk.spare();
        // Left over if it could not be removed when it was retired.
        self.mapper.remove(&disk.snapshot(which))?;
        let store = disk.store(which);
        let wiped = device::open(&store, true).and_then(|file| changes::wipe(&file));
        wiped.map_err(|e| format!("cannot use {} for snapshots: {e}", store.display()))?;
        let parameters = format!("/dev/{} {} P {CHUNK_SECTORS}", disk.name, store.display());
        let target = Target { kind: "snapshot", sectors: disk.bytes / SECTOR, parameters };
        Ok((which, self.mapper.create(&disk.snapshot(which), &target)?))
    }

    /// Activates the new snapshots of all disks at one moment, during which nothing is written to
    /// any disk.
    fn freeze(&self) -> Result<(), String> {
        let mut done = Ok(());
        for disk in &self.disks {
            done = done.and_then(|()| self.mapper.suspend(&disk.name));
        }
        for disk in &self.disks {
            done = done.and_then(|()| self.mapper.resume(&disk.snapshot(disk.spare())));
        }
        // In every case, because a disk that stays suspended stops the machine.
        for disk in &self.disks {
            done = self.mapper.resume(&disk.name).and(done);
        }
        done
    }

    /// Removes snapshots and reads the changes that they recorded; `None` if one of them
    /// overflowed.
    fn retire(&self, snapshots: Vec<Option<(usize, PathBuf)>>) -> Result<Option<Changes>, String> {
        let mut all = Vec::new();
        for (disk, snapshot) in self.disks.iter().zip(snapshots) {
            let Some((which, _)) = snapshot else { continue };
            self.mapper.remove(&disk.snapshot(which))?;
            all.push(read_changes(&disk.store(which))?);
        }
        let complete = all.len() == self.disks.len();
        Ok(all.into_iter().collect::<Option<Changes>>().filter(|_| complete))
    }

    fn exported(&self, changes: Option<&Changes>) -> Vec<ExportedDisk> {
        let disks = self.disks.iter().enumerate().filter_map(|(index, disk)| {
            let (_, node) = disk.active.clone()?;
            let changed = changes.map(|changes| changes.get(index).cloned().unwrap_or_default());
            Some(ExportedDisk { serial: disk.serial.clone(), node, bytes: disk.bytes, changed })
        });
        disks.collect()
    }
}

fn read_changes(store: &Path) -> Result<Option<Chunks>, String> {
    let read = || {
        let mut file: File = device::open(store, false)?;
        let bytes = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
        changes::read(&file, bytes)
    };
    read().map_err(|e| format!("cannot read the changes in {}: {e}", store.display()))
}
