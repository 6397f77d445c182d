//! The record of a boot: the content of the disks before power-on, and every write since.
//!
//! It is kept below the core under test, so that what is judged is what was booted and not what the
//! core says it built.

use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::{DiskId, Firmware, MachineId, Timestamp};
use witness::ledger::{Record, RecordNumber};
use witness::protocol::LedgerFinding;
use witness::random::Random;

use crate::Snapshot;

/// One boot of one machine. It outlives the machine.
#[derive(Debug)]
pub struct SimBoot {
    /// Machine.
    pub machine: MachineId,
    /// Number of the boot, from 1, among all machines of that name at this site.
    pub number: u32,
    /// Epoch in its ledger records; it differs between all boots of a machine, at all sites.
    pub epoch: u32,
    /// Power-on.
    pub started: Timestamp,
    /// Disks in boot order.
    pub disks: Vec<SimDisk>,
    /// The drivers that a guest needs on the site's hardware.
    pub drivers: Vec<String>,
    /// The firmware that it booted with.
    pub firmware: Firmware,
    /// When the guest is up and starts its workload, or why it never comes up.
    pub up: Result<Timestamp, String>,
    /// The guest's finding about its ledger; `None` if it did not come up.
    pub found: Option<LedgerFinding>,
    journal: Mutex<Journal>,
}

/// One disk at one boot.
#[derive(Clone, Debug)]
pub struct SimDisk {
    /// The disk.
    pub id: DiskId,
    /// Its content before power-on.
    pub base: Snapshot,
}

/// A write of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimWrite {
    /// When it was made.
    pub at: Timestamp,
    /// Index of the disk in the machine.
    pub disk: usize,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub length: u32,
    /// Content.
    pub payload: Payload,
    /// Whether the guest flushed all its disks after it. A loss of power may undo what was written
    /// since the last flush, in part or as a whole.
    pub flushed: bool,
}

/// Content of a write, in a compact form from which it can be generated again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A ledger record.
    Record(Record),
    /// Random bytes from this seed.
    Noise(u64),
    /// Zeroes, as written by a discard.
    Zeroes,
}

impl SimWrite {
    /// The bytes written.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        match &self.payload {
            Payload::Record(record) => record.encode().to_vec(),
            Payload::Zeroes => vec![0; self.length as usize],
            Payload::Noise(seed) => {
                let mut data = vec![0; self.length as usize];
                Random::new(*seed).fill(&mut data);
                data
            }
        }
    }

    /// The ledger record, if it is one.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match &self.payload {
            Payload::Record(record) => Some(record),
            Payload::Noise(_) | Payload::Zeroes => None,
        }
    }
}

/// An acknowledgement to the guest that a record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The record.
    pub number: RecordNumber,
    /// When it was sent.
    pub at: Timestamp,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest shut down; its last record is a quiesce mark.
    ShutDown,
    /// The machine was powered off while the guest was running.
    PoweredOff,
    /// The whole site was lost.
    SiteLost,
}

#[derive(Debug, Default)]
struct Journal {
    log: Vec<SimWrite>,
    ended: Option<(Timestamp, End)>,
}

impl SimBoot {
    pub(crate) fn new(
        machine: MachineId,
        number: u32,
        epoch: u32,
        started: Timestamp,
        disks: Vec<SimDisk>,
    ) -> Self {
        let up = Err("it has not been tried".to_owned());
        Self {
            machine,
            number,
            epoch,
            started,
            disks,
            drivers: Vec::new(),
            firmware: Firmware::Bios,
            up,
            found: None,
            journal: Mutex::default(),
        }
    }

    /// Every write so far on all disks, in the order in which they were made.
    #[must_use]
    pub fn log(&self) -> Vec<SimWrite> {
        self.journal().log.clone()
    }

    /// Acknowledgements so far.
    #[must_use]
    pub fn acks(&self) -> Vec<Ack> {
        let ack = |write: &SimWrite| write.record().map(|record| Ack { number: record.number, at: write.at });
        self.journal().log.iter().filter_map(ack).collect()
    }

    /// The last record acknowledged at or before `moment`; `None` if there is none since power-on.
    #[must_use]
    pub fn acked_by(&self, moment: Timestamp) -> Option<Ack> {
        self.acks().into_iter().take_while(|ack| ack.at <= moment).last()
    }

    /// When and how the boot ended; `None` while the machine runs.
    #[must_use]
    pub fn ended(&self) -> Option<(Timestamp, End)> {
        self.journal().ended
    }

    /// Content of the disks before power-on.
    #[must_use]
    pub fn bases(&self) -> Vec<Snapshot> {
        self.disks.iter().map(|disk| disk.base.clone()).collect()
    }

    pub(crate) fn push(&self, write: SimWrite) {
        self.journal().log.push(write);
    }

    pub(crate) fn end(&self, at: Timestamp, end: End) {
        self.journal().ended = Some((at, end));
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
