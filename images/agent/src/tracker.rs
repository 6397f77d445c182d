//! Views: all disks frozen at one moment, and what changed since an earlier one.
//!
//! Every disk has one snapshot at any time from the first view on. It shows the view while that is open, and it notes
//! what is written from its moment to the next view's. Its store is a RAM disk. A store that overflows costs no write and
//! no byte of the machine's: the view can be read no more, and the next one tells no changes, so that whoever replicates
//! compares the whole disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::change_set::{ChangeSet, Changes};
use crate::changes::{self, CHUNK_SECTORS, Chunks};
use crate::device;
use crate::exports::{Exports, Frozen};
use crate::mapper::{Mapper, Target};
use crate::stack;
use agent::protocol::Disk;

const SECTOR: u64 = 512;
/// Stores of a disk: one in use, one for the next view.
const STORES: usize = 2;

/// One disk under the agent's care.
struct Tracked {
    name: String,
    serial: String,
    bytes: u64,
    /// Number among the disks, which decides its stores.
    index: usize,
    /// The store of its snapshot, and the device that shows it.
    active: Option<(usize, PathBuf)>,
}

impl Tracked {
    fn store(&self, which: usize) -> PathBuf {
        Path::new("/dev").join(format!("ram{}", self.index * STORES + which))
    }

    fn snapshot(&self, which: usize) -> String {
        format!("{}-view{which}", self.name)
    }

    fn spare(&self) -> usize {
        self.active.as_ref().map_or(0, |(which, _)| (which + 1) % STORES)
    }
}

/// All disks and the account of their changes.
pub(crate) struct Tracker {
    mapper: Mapper,
    disks: Vec<Tracked>,
    exports: Arc<Exports>,
    account: ChangeSet,
    /// The moment of the open view.
    open: Option<String>,
    /// Tells this start of the agent from any other.
    start: String,
    views: u64,
}

impl Tracker {
    /// Takes the disks into care. What an agent before it left is removed: what it knew is lost with it.
    pub(crate) fn begin(exports: Arc<Exports>) -> Result<Self, String> {
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
        Ok(Self { mapper, disks, exports, account: ChangeSet::default(), open: None, start, views: 0 })
    }

    /// The disks under care.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let shown = |disk: &Tracked| Disk { serial: disk.serial.clone(), bytes: disk.bytes };
        self.disks.iter().map(shown).collect()
    }

    /// Freezes all disks at one moment. Returns the moment's name, and whether changes since `since` are told.
    pub(crate) fn open(&mut self, since: Option<&str>) -> Result<(String, bool), String> {
        if self.disks.is_empty() {
            return Err("no disk is under the agent's care: it was not there when they were mounted".into());
        }
        self.end_snapshot()?;
        let made = self.prepare()?;
        let frozen = self.freeze();
        let before: Vec<_> = match &frozen {
            Ok(()) => self.disks.iter_mut().zip(made).map(|(disk, made)| disk.active.replace(made)).collect(),
            // What was prepared is of no use.
            Err(_) => made.into_iter().map(Some).collect(),
        };
        let noted = self.retire(before);
        frozen?;
        // Where it could not be read, nothing is known, and nothing must be told.
        self.account.note(noted.as_ref().ok().cloned().flatten());
        noted?;
        self.views += 1;
        let change = format!("{}-{}", self.start, self.views);
        let told = self.account.since(since).cloned();
        self.exports.show(self.frozen(told.as_ref()));
        self.open = Some(change.clone());
        Ok((change, told.is_some()))
    }

    /// Ends the view of a moment; if its content reached its destination, changes count from there.
    pub(crate) fn close(&mut self, change: &str, acknowledge: bool) -> Result<(), String> {
        if self.open.as_deref() != Some(change) {
            return Ok(());
        }
        self.end_snapshot()?;
        if acknowledge {
            self.account.acknowledge(change, self.disks.len());
        }
        Ok(())
    }

    /// Ends all tracking.
    pub(crate) fn forget(&mut self) -> Result<(), String> {
        self.end_snapshot()?;
        let active: Vec<_> = self.disks.iter_mut().map(|disk| disk.active.take()).collect();
        self.account = ChangeSet::default();
        self.retire(active).map(drop)
    }

    fn end_snapshot(&mut self) -> Result<(), String> {
        self.open = None;
        self.exports.hide()
    }

    /// Makes the next snapshot of every disk; none is in use yet.
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
        // One that could not be removed when it was retired.
        self.mapper.remove(&disk.snapshot(which))?;
        let store = disk.store(which);
        let wiped = device::open(&store, true).and_then(|file| changes::wipe(&file));
        wiped.map_err(|e| format!("cannot use {} for snapshots: {e}", store.display()))?;
        let parameters = format!("/dev/{} {} P {CHUNK_SECTORS}", disk.name, store.display());
        let target = Target { kind: "snapshot", sectors: disk.bytes / SECTOR, parameters };
        Ok((which, self.mapper.create(&disk.snapshot(which), &target)?))
    }

    /// The moment: nothing is written to any disk while every one of the new snapshots begins.
    fn freeze(&self) -> Result<(), String> {
        let mut done = Ok(());
        for disk in &self.disks {
            done = done.and_then(|()| self.mapper.suspend(&disk.name));
        }
        for disk in &self.disks {
            done = done.and_then(|()| self.mapper.resume(&disk.snapshot(disk.spare())));
        }
        // Whatever happened: a disk that stays suspended stops the machine.
        for disk in &self.disks {
            done = self.mapper.resume(&disk.name).and(done);
        }
        done
    }

    /// Removes snapshots and reads what they noted; `None` if one of them does not know.
    fn retire(&self, snapshots: Vec<Option<(usize, PathBuf)>>) -> Result<Option<Changes>, String> {
        let mut all = Vec::new();
        for (disk, snapshot) in self.disks.iter().zip(snapshots) {
            let Some((which, _)) = snapshot else { continue };
            self.mapper.remove(&disk.snapshot(which))?;
            all.push(read_changes(&disk.store(which))?);
        }
        let whole = all.len() == self.disks.len();
        Ok(all.into_iter().collect::<Option<Changes>>().filter(|_| whole))
    }

    fn frozen(&self, changes: Option<&Changes>) -> Vec<Frozen> {
        let disks = self.disks.iter().enumerate().filter_map(|(index, disk)| {
            let (_, node) = disk.active.clone()?;
            let changed = changes.map(|changes| changes.get(index).cloned().unwrap_or_default());
            Some(Frozen { serial: disk.serial.clone(), node, bytes: disk.bytes, changed })
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
