//! The guest of a simulated machine: a model of the witness. Its writes depend only on its seed and
//! the time.

use std::collections::VecDeque;
use std::ops::Range;

use contract::{DiskId, Firmware};
use witness::ledger::{RECORD_BYTES, Record, RecordNumber};
use witness::protocol::LedgerFinding;
use witness::random::Random;

use crate::boot::{Payload, SimWrite};
use crate::clock::{micros, moment};
use crate::disk::Layout;
use crate::{Snapshot, boot_partition, ledger};

/// How many mean times between two background writes pass between two writes of a whole grain. By
/// default that is longer than the interval between two transfers, so that zeroes and data are
/// rarely in the same transfer.
const REWRITE_EVERY: u64 = 40;
const NEVER: u64 = u64::MAX;
/// Size in bytes from which on a disk is written only in parts.
const LARGE: u64 = 1 << 30;
/// Size of such a part in bytes.
const PART: u64 = 512 * 1024;

/// The state of a machine at power-on. Times are in microseconds since the Unix epoch.
pub(crate) struct PowerOn<'a> {
    pub(crate) names: &'a [DiskId],
    pub(crate) disks: &'a [Snapshot],
    pub(crate) firmware: Firmware,
    /// The boot loader that the firmware variables name.
    pub(crate) boot_entry: Option<&'a str>,
    /// Drivers that the hardware needs to find its disks.
    pub(crate) needed: &'a [String],
    pub(crate) seed: u64,
    pub(crate) epoch: u32,
    pub(crate) at: u64,
    pub(crate) up_at: u64,
}

/// A guest that has booted.
pub(crate) struct Guest {
    layouts: Vec<Layout>,
    random: Random,
    epoch: u32,
    powered_at: u64,
    up_at: u64,
    /// Records after the last contiguous one, to be wiped as soon as the guest is up.
    wipes: VecDeque<(usize, u64)>,
    next: RecordNumber,
    record_at: u64,
    churn_at: Vec<u64>,
    churned: u64,
    /// Random numbers of the writes of a whole grain, apart from those of the other writes.
    rewrite_random: Random,
    rewrite_at: u64,
    rewritten: u64,
    /// Random numbers that say which background writes are flushed.
    flush_random: Random,
    hung: bool,
}

/// The next write of a guest.
#[derive(Clone, Copy)]
enum Due {
    Wipe,
    Record,
    Churn(usize),
    Rewrite,
}

impl Guest {
    /// Boots from the disks, or returns why that fails.
    pub(crate) fn boot(on: &PowerOn<'_>) -> Result<(Self, LedgerFinding), String> {
        let first = on.disks.first().ok_or("no bootable disk: the machine has no disk")?;
        let loaded = boot_partition::start(first, on.firmware, on.boot_entry)?;
        if let Some(missing) = on.needed.iter().find(|driver| !loaded.contains(driver)) {
            return Err(format!("no root disk: the initial RAM disks lack {missing}"));
        }
        let layouts = ledger::layouts(on.names, on.disks)?;
        let scan = ledger::scan(&layouts, on.disks);
        let mut guest = Self {
            random: Random::new(on.seed),
            epoch: on.epoch,
            powered_at: on.at,
            up_at: on.up_at,
            wipes: scan.beyond.into(),
            next: scan.finding.contiguous + 1,
            record_at: NEVER,
            churn_at: vec![NEVER; layouts.len()],
            churned: 0,
            rewrite_random: Random::new(!on.seed),
            rewrite_at: NEVER,
            rewritten: 0,
            flush_random: Random::new(on.seed.rotate_left(32)),
            hung: false,
            layouts,
        };
        guest.record_at = guest.after(on.up_at, guest.load().record_every);
        for disk in 0..guest.layouts.len() {
            guest.churn_at[disk] = guest.after(on.up_at, guest.load().churn_every);
        }
        guest.schedule_rewrite(on.up_at);
        Ok((guest, scan.finding))
    }

    /// When the guest is up.
    pub(crate) fn up_at(&self) -> u64 {
        self.up_at
    }

    pub(crate) fn is_hung(&self) -> bool {
        self.hung
    }

    /// Hangs until resumed.
    pub(crate) fn hang(&mut self) {
        self.hung = true;
    }

    /// Resumes after hanging; writes that were due meanwhile are late.
    pub(crate) fn resume(&mut self, now: u64) {
        self.hung = false;
        for at in self.churn_at.iter_mut().chain([&mut self.record_at, &mut self.rewrite_at]) {
            *at = (*at).max(now);
        }
    }

    /// Stops the workload.
    pub(crate) fn stop_load(&mut self) {
        self.record_at = NEVER;
        self.rewrite_at = NEVER;
        self.churn_at.fill(NEVER);
    }

    /// The next write, if it is due at or before `limit`.
    pub(crate) fn next_by(&mut self, limit: u64) -> Option<SimWrite> {
        let (at, due) = self.due();
        if self.hung || at > limit || at == NEVER {
            return None;
        }
        Some(match due {
            Due::Wipe => {
                let (disk, offset) = self.wipes.pop_front()?;
                write(at, disk, offset..offset + RECORD_BYTES as u64, Payload::Zeroes, true)
            }
            Due::Record => {
                self.record_at = self.after(at, self.load().record_every);
                self.record(at, false)?
            }
            Due::Churn(disk) => self.churn(at, disk),
            Due::Rewrite => self.rewrite(at)?,
        })
    }

    /// The quiesce mark.
    pub(crate) fn quiesce_mark(&mut self, at: u64) -> Option<SimWrite> {
        self.record(at, true)
    }

    fn due(&self) -> (u64, Due) {
        if !self.wipes.is_empty() {
            return (self.up_at, Due::Wipe);
        }
        let churns = self.churn_at.iter().enumerate().map(|(disk, at)| (*at, Due::Churn(disk)));
        let others = churns.chain([(self.rewrite_at, Due::Rewrite)]);
        others.fold((self.record_at, Due::Record), |first, next| if next.0 < first.0 { next } else { first })
    }

    fn record(&mut self, at: u64, quiesced: bool) -> Option<SimWrite> {
        let number = self.next;
        let (disk, offset) = ledger::position(&self.layouts, number)?;
        self.next += 1;
        let uptime_ms = at.saturating_sub(self.powered_at) / 1000;
        let record = Record { number, epoch: self.epoch, uptime_ms, seen: 0, quiesced };
        Some(write(at, disk, offset..offset + RECORD_BYTES as u64, Payload::Record(record), true))
    }

    fn churn(&mut self, at: u64, disk: usize) -> SimWrite {
        let load = self.load();
        self.churned += 1;
        let zeroes = self.churned.is_multiple_of(u64::from(load.zero_every));
        let place = self.place_of_churn(disk, zeroes);
        let payload = if zeroes { Payload::Zeroes } else { Payload::Noise(self.random.next_u64()) };
        self.churn_at[disk] = self.after(at, load.churn_every);
        let flushed = self.flush_random.below(2) == 0;
        write(at, disk, place, payload, flushed)
    }

    /// A random place of a background write.
    fn place_of_churn(&mut self, disk: usize, zeroes: bool) -> Range<u64> {
        let load = self.load();
        let area = self.area_of_churn(disk);
        let sector = RECORD_BYTES as u64;
        let most = u64::from(load.churn_bytes).max(sector).min(area.end - area.start);
        if !load.any_size {
            let start = area.start + self.random.below((area.end - area.start) / most) * most;
            return start..start + most;
        }
        if zeroes {
            let (first, end) = (area.start.div_ceil(most), area.end / most);
            if first < end {
                let start = (first + self.random.below(end - first)) * most;
                return start..start + most;
            }
        }
        let bytes = (1 + self.random.below(most / sector)) * sector;
        let start = area.start + self.random.below((area.end - bytes - area.start) / sector + 1) * sector;
        start..start + bytes
    }

    /// The part of a disk that the next background write is in. On a large disk the parts are few,
    /// so that one write often hits another, and lie where counts of bytes or sectors in 32 bits
    /// overflow, and at the end.
    fn area_of_churn(&mut self, disk: usize) -> Range<u64> {
        let area = self.layouts[disk].churn.clone();
        if area.end - area.start < LARGE {
            return area;
        }
        let around = |at: u64| at.saturating_sub(PART / 2).max(area.start)..(at + PART / 2).min(area.end);
        let parts = [area.start, 1 << 32, 1 << 41, 1 << 42, area.end].map(around);
        let parts: Vec<_> = parts.into_iter().filter(|part| part.start < part.end).collect();
        let chosen = self.random.below(parts.len() as u64);
        parts.get(chosen as usize).cloned().unwrap_or(area)
    }

    /// Overwrites a whole grain, with zeroes and with data in turn.
    fn rewrite(&mut self, at: u64) -> Option<SimWrite> {
        let disk = self.layouts.len().checked_sub(1)?;
        let range = self.layouts[disk].rewritten()?;
        let noise = Payload::Noise(self.rewrite_random.next_u64());
        let payload = if self.rewritten.is_multiple_of(2) { Payload::Zeroes } else { noise };
        self.rewritten += 1;
        self.schedule_rewrite(at);
        Some(write(at, disk, range, payload, false))
    }

    fn schedule_rewrite(&mut self, after: u64) {
        let every = micros(self.load().churn_every).saturating_mul(REWRITE_EVERY);
        let has_grain = self.layouts.last().is_some_and(|layout| layout.rewritten().is_some());
        self.rewrite_at = match every {
            1.. if has_grain => after
                .saturating_add(every / 2)
                .saturating_add(self.rewrite_random.below(every))
                .saturating_add(1),
            _ => NEVER,
        };
    }

    fn load(&self) -> crate::Load {
        self.layouts[0].load
    }

    /// A random time after `at`, on average `every` later.
    fn after(&mut self, at: u64, every: contract::Millis) -> u64 {
        match micros(every) {
            0 => NEVER,
            every => {
                let next =
                    at.saturating_add(every / 2).saturating_add(self.random.below(every)).saturating_add(1);
                self.in_busy_phase(next)
            }
        }
    }

    /// The time itself, or the end of the quiet phase that it is in. The phases begin at power-on
    /// with a busy one.
    fn in_busy_phase(&self, at: u64) -> u64 {
        let phase = micros(self.load().phase);
        match at.saturating_sub(self.powered_at).checked_div(phase) {
            Some(number) if number % 2 == 1 => {
                self.powered_at.saturating_add((number + 1).saturating_mul(phase))
            }
            _ => at,
        }
    }
}

fn write(at: u64, disk: usize, range: Range<u64>, payload: Payload, flushed: bool) -> SimWrite {
    let (offset, length) = (range.start, (range.end - range.start) as u32);
    SimWrite { at: moment(at), disk, offset, length, payload, flushed }
}
