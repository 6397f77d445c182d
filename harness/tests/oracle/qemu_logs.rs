//! Logs written by QEMU, including logs of a QEMU that was killed.

use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use harness::oracle::{
    Cut, LogEnd, MemorySource, Options, RawSource, SectorSource, Verdict, WriteLog, flip_sectors, judge,
    self_test,
};

use super::qemu::{Scratch, feed, logged};

const DISK: u64 = 4 << 20;
const KILLED_DISK: u64 = 256 << 20;

/// A blank disk, and a blank base.
fn disks(scratch: &Scratch, bytes: u64) -> (std::path::PathBuf, RawSource) {
    for name in ["disk.raw", "base.raw"] {
        std::fs::File::create(scratch.path(name)).unwrap().set_len(bytes).unwrap();
    }
    (scratch.path("disk.raw"), RawSource::open(&scratch.path("base.raw")).unwrap())
}

/// A varied sequence of writes, discards and flushes.
fn commands(count: u64) -> Vec<String> {
    let command = |i: u64| match i % 11 {
        3 => "flush".into(),
        5 => format!("write -z {}k 8k", i * 37 % 1000 * 4),
        7 => format!("discard {}k 64k", i * 53 % 60 * 64),
        9 => format!("write -f -P {} {}k 512", i % 255 + 1, i * 29 % 4000),
        _ => format!("write -P {} {} 12k", i % 255 + 1, i * 7919 % 8000 * 512),
    };
    (0..count).map(command).collect()
}

#[test]
fn a_disk_matches_the_end_of_its_finished_log() {
    let scratch = Scratch::new();
    let (disk, base) = disks(&scratch, DISK);
    feed(logged(&disk, &scratch.path("log")), &commands(400));
    let log = WriteLog::open(&scratch.path("log"), DISK).unwrap();
    let recovered = RawSource::open(&disk).unwrap();
    let judgement = judge(&base, &log, &recovered, &Options::default()).unwrap();
    assert_eq!(log.end(), LogEnd::Complete);
    let cut = judgement.verdict.cut().unwrap_or_else(|| panic!("{judgement}"));
    assert_eq!((cut.latest, judgement.bytes_compared), (Cut(log.len()), DISK));
    assert!(log.len() > 300 && log.flushes() > 30 && log.barriers().len() > 30, "{}", log.len());
    assert!(log.entries().iter().any(|entry| entry.is_discard()));

    for seed in 0..8 {
        let chosen = flip_sectors(seed, &log, &Options::default());
        for sector in [chosen.written, chosen.unwritten].into_iter().flatten() {
            self_test(&base, &log, &recovered, &Options::default(), sector).unwrap();
        }
    }
}

#[test]
fn zeroes_and_large_writes_keep_their_length() {
    let scratch = Scratch::new();
    let (disk, base) = disks(&scratch, DISK);
    let commands = ["write -P 7 0 3M", "write -z 1M 1M", "write -P 9 1536k 512", "write -z -u 0 64k"];
    feed(logged(&disk, &scratch.path("log")), &commands.map(String::from));
    let log = WriteLog::open(&scratch.path("log"), DISK).unwrap();
    let sizes: Vec<_> = log.entries().iter().map(|entry| (entry.sector, entry.sectors)).collect();
    assert_eq!(sizes, [(0, 6144), (2048, 2048), (3072, 1), (0, 128)]);
    let judgement = judge(&base, &log, &RawSource::open(&disk).unwrap(), &Options::default()).unwrap();
    assert_eq!(judgement.to_string(), "exact: the first 4 of 4 writes");
}

/// A log truncated at any byte is read up to its last complete entry.
#[test]
fn a_truncated_log_yields_all_complete_entries() {
    let scratch = Scratch::new();
    let (disk, _) = disks(&scratch, DISK);
    feed(logged(&disk, &scratch.path("log")), &commands(30));
    let whole = std::fs::read(scratch.path("log")).unwrap();
    let all = WriteLog::from_bytes("whole", whole.clone(), DISK).unwrap();
    let ends = |entry: &harness::oracle::Entry| {
        entry.data_offset() + if entry.is_discard() { 0 } else { entry.sectors * 512 }
    };
    for len in (512..=whole.len()).step_by(97) {
        let cut = WriteLog::from_bytes("cut", whole[..len].to_vec(), DISK).unwrap();
        let kept = all.entries().iter().take_while(|entry| ends(entry) <= len as u64).count();
        assert_eq!(cut.len(), kept as u64, "at {len}: {:?}", cut.end());
        assert!(cut.end() != LogEnd::Complete || len == whole.len(), "at {len}");
    }
}

/// Waits until a log has grown to `bytes` bytes.
fn grown_to(log: &Path, bytes: u64, writer: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(log).unwrap().len() < bytes {
        assert!(writer.try_wait().unwrap().is_none(), "the writer ended early");
        assert!(Instant::now() < deadline, "the log does not grow");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_log_of_a_killed_writer_is_readable() {
    let mut readable = 0;
    for round in 0..4u64 {
        let scratch = Scratch::new();
        let (disk, base) = disks(&scratch, KILLED_DISK);
        let mut child = logged(&disk, &scratch.path("log"));
        let mut input = child.stdin.take().unwrap();
        // All at once, so that many are in flight. Each write has its own range, because the order
        // of overlapping writes in flight is undefined and no guest issues any.
        let burst: Vec<_> = (0..4000u64)
            .map(|i| format!("aio_write -q -P {} {}k 64k", i % 251 + 1, (i * 7919 + round) % 4093 * 64))
            .collect();
        let feeder = std::thread::spawn(move || {
            // The process dies while it is being fed.
            let _ = input.write_all((burst.join("\n") + "\n").as_bytes());
        });
        grown_to(&scratch.path("log"), ((1 + round) * 3) << 20, &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        feeder.join().unwrap();

        let log = WriteLog::open(&scratch.path("log"), KILLED_DISK).unwrap();
        let options = Options { in_flight_sectors: 4000 * 128, ..Options::default() };
        let judgement = judge(&base, &log, &RawSource::open(&disk).unwrap(), &options).unwrap();
        println!("round {round}, {:?}: {judgement}", log.end());
        readable += log.len();
        match judgement.verdict {
            Verdict::Exact { cut, .. } => assert_eq!(cut.latest, Cut(log.len())),
            Verdict::Unknown { misfit, .. } => assert_eq!(misfit.stale + misfit.ahead, 0),
            other => panic!("round {round}, {:?}: {other}", log.end()),
        }
    }
    // A log ends at the first write that was still in flight, so a single one may be short.
    assert!(readable > 10, "{readable}");
}

/// A log is readable while QEMU is writing it.
#[test]
fn a_log_in_use_is_readable_before_its_superblock_is_written() {
    let scratch = Scratch::new();
    let (disk, base) = disks(&scratch, DISK);
    let mut child = logged(&disk, &scratch.path("log"));
    let mut input = child.stdin.take().unwrap();
    // `qemu-io` reads one line each time its input becomes ready, so each command is waited for.
    for (done, command) in (1..).zip(["write -P 1 0 4k", "write -P 2 8k 4k", "write -P 3 0 4k"]) {
        writeln!(input, "{command}").unwrap();
        grown_to(&scratch.path("log"), 512 + done * 9 * 512, &mut child);
    }
    let log = WriteLog::open(&scratch.path("log"), DISK).unwrap();
    assert_eq!((log.len(), log.end()), (3, LogEnd::Complete));
    let mut first = vec![0; 4096];
    base.read_at(0, &mut first).unwrap();
    let mut half = vec![0; DISK as usize];
    half[..4096].fill(1);
    let judgement = judge(&base, &log, &MemorySource(half), &Options::default()).unwrap();
    assert_eq!(judgement.to_string(), "exact: the first 1 of 3 writes");
    drop(input);
    child.wait().unwrap();
}
