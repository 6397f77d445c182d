//! Crash states of logs that QEMU wrote, of a disk with a file system, a ledger and a bank.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use harness::crash_states::{Examination, LogUnderTest, Sampling, examine};
use harness::oracle::WriteLog;
use harness::recovered::{DiskLayout, Part};
use witness::ledger::Record;

use super::qemu::{Scratch, feed, logged, run, text};

const BLOCK: u64 = 4096;
/// What the witness's ledger is on a new disk, only shorter.
const LEDGER_BYTES: usize = 16 * BLOCK as usize;
/// No states but those at flushes.
const ONLY_FLUSHES: Sampling = Sampling { most: 0, seed: 1 };
const SAMPLED: Sampling = Sampling { most: 8, seed: 1 };

/// One step of the guest.
#[derive(Clone, Copy)]
enum Step {
    /// Writes this record into its slot.
    Record(u64),
    /// Overwrites the first page of the bank, or the root of the file system.
    Destroy(Part),
    Flush,
}
use Step::{Destroy, Flush, Record as Write};

struct Disk {
    scratch: Scratch,
    layout: DiskLayout,
    /// Byte offsets on the disk.
    ledger: u64,
    bank: u64,
    root: u64,
}

impl Disk {
    /// A data disk as it is before its log begins: its journal holds a transaction that was not
    /// written back.
    fn new() -> Self {
        let scratch = Scratch::new();
        let layout = DiskLayout::named("data", &images::shape::ORDINARY).unwrap();
        let base = scratch.path("base.raw");
        File::create(&base).unwrap().set_len(layout.file_system.end).unwrap();
        let features = "none,has_journal,extent,filetype,sparse_super,metadata_csum";
        run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-J", "size=8", "-O", features, text(&base)]);
        std::fs::write(scratch.path("ledger"), [1; LEDGER_BYTES]).unwrap();
        std::fs::write(scratch.path("block"), [7; BLOCK as usize]).unwrap();
        make_bank(&scratch.path("bank"));
        let mut disk = Self { scratch, layout, ledger: 0, bank: 0, root: 0 };
        disk.debugfs("write ledger ledger\nwrite bank bank.db\n");
        let blocks = disk.debugfs("bmap /ledger 0\nbmap /bank.db 0\nbmap / 0\n");
        [disk.ledger, disk.bank, disk.root] = blocks.try_into().unwrap();
        let image = File::options().write(true).open(&base).unwrap();
        image.write_all_at(&[0; LEDGER_BYTES], disk.ledger).unwrap();
        disk.debugfs("jo\njw -b 20000 block\njc\n");
        disk
    }

    /// Runs commands and returns the bytes at which blocks lie that they printed.
    fn debugfs(&self, script: &str) -> Vec<u64> {
        let file = self.scratch.path("script");
        std::fs::write(&file, script).unwrap();
        let mut command = Command::new("debugfs");
        command.current_dir(self.scratch.path("")).args(["-w", "-f", "script", "base.raw"]);
        let output = command.output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        printed
            .lines()
            .filter_map(|line| line.trim().parse::<u64>().ok())
            .map(|block| block * BLOCK)
            .collect()
    }

    fn command(&self, number: usize, step: Step) -> String {
        let (at, content) = match step {
            Flush => return "flush".to_owned(),
            Write(number) => (self.ledger + (number / 2 - 1) * 512, record(number).to_vec()),
            Destroy(Part::Bank) => (self.bank, vec![9; 512]),
            Destroy(_) => (self.root, vec![9; 512]),
        };
        let file = self.scratch.path(&format!("content-{number}"));
        std::fs::write(&file, content).unwrap();
        format!("write -s {} {at} 512", text(&file))
    }

    /// Has QEMU write and log these steps, and examines the states.
    fn examine(&self, steps: &[Step], sampling: Sampling) -> Examination {
        let [base, written, log] = ["base.raw", "disk.raw", "log"].map(|name| self.scratch.path(name));
        std::fs::copy(&base, &written).unwrap();
        let commands: Vec<_> = steps.iter().enumerate().map(|(n, step)| self.command(n, *step)).collect();
        feed(logged(&written, &log), &commands);
        let log = WriteLog::open(&log, self.layout.file_system.end).unwrap();
        let test = LogUnderTest { layout: self.layout.clone(), base: &base, log: &log, initial_record: 0 };
        examine(&test, sampling).unwrap()
    }
}

fn record(number: u64) -> [u8; 512] {
    Record { number, epoch: 1, uptime_ms: 10 * number, seen: 0, quiesced: false }.encode()
}

/// A bank with its opening balances.
fn make_bank(path: &PathBuf) {
    let bank = rusqlite::Connection::open(path).unwrap();
    bank.execute_batch(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
         CREATE TABLE journal (id INTEGER PRIMARY KEY, payer INTEGER NOT NULL, payee INTEGER NOT NULL,
                               amount INTEGER NOT NULL);
         WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < 99)
         INSERT INTO account SELECT id, 1000 FROM n;",
    )
    .unwrap();
}

#[test]
fn every_state_of_a_guest_that_waits_for_its_flushes_is_sound() {
    let found = Disk::new().examine(&[Write(2), Flush, Write(4), Flush, Write(6), Flush, Write(8)], SAMPLED);
    assert!(found.bad.is_empty(), "{:?}", found.bad);
    assert_eq!((found.boundaries, found.sampled), (5, 0));
}

#[test]
fn a_write_that_passed_a_flush_makes_exactly_the_state_at_that_flush_bad() {
    // Record 4 was written before record 6, and reached the disk after the flush behind record 6.
    let steps = [Write(2), Flush, Write(6), Flush, Write(4), Flush, Write(8), Flush];
    let found = Disk::new().examine(&steps, ONLY_FLUSHES);
    assert_eq!((found.boundaries, found.sampled, found.bad.len()), (5, 0, 1));
    let bad = &found.bad[0];
    assert_eq!(bad.state.to_string(), "after flush 2 and write 2");
    assert_eq!(bad.damage.part, Part::Ledger, "{}", bad.damage);
    assert_eq!(bad.culprit.unwrap().position.0, 2);
}

#[test]
fn a_flush_that_was_dropped_is_found_by_a_state_between_flushes_alone() {
    let disk = Disk::new();
    let steps = [Write(2), Flush, Write(4), Write(6), Flush, Write(8), Flush];
    let found = disk.examine(&steps, ONLY_FLUSHES);
    assert_eq!((found.boundaries, found.bad.len()), (4, 0));
    let found = disk.examine(&steps, SAMPLED);
    assert_eq!((found.sampled, found.bad.len()), (2, 1), "{:?}", found.bad);
    let bad = &found.bad[0];
    assert_eq!(bad.state.to_string(), "after flush 1 and write 3 without write 2");
    let culprit = bad.culprit.unwrap();
    assert_eq!((culprit.position.0, culprit.sector, culprit.missing), (2, disk.ledger / 512 + 1, true));
}

#[test]
fn a_destroyed_file_system_or_bank_is_found_and_the_write_is_named() {
    for part in [Part::FileSystem, Part::Bank] {
        let disk = Disk::new();
        let steps = [Write(2), Flush, Write(4), Destroy(part), Flush];
        let found = disk.examine(&steps, ONLY_FLUSHES);
        assert_eq!(found.bad.len(), 1);
        assert_eq!(found.bad[0].damage.part, part, "{}", found.bad[0].damage);
        let culprit = found.bad[0].culprit.unwrap();
        assert_eq!((culprit.position.0, culprit.missing), (3, false));
    }
}
