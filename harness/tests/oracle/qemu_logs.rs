//! Logs as QEMU writes them, also when it is killed.

use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use harness::oracle::{
    Cut, LogEnd, MemorySource, Options, RawSource, SectorSource, Verdict, WriteLog, flip_sectors, judge,
    must_object,
};

use super::qemu::{Scratch, feed, logged};

const DISK: u64 = 4 << 20;
const KILLED_DISK: u64 = 256 << 20;

/// A blank disk, and the same again as base.
fn disks(scratch: &Scratch, bytes: u64) -> (std::path::PathBuf, RawSource) {
    for name in ["disk.raw", "base.raw"] {
        std::fs::File::create(scratch.path(name)).unwrap().set_len(bytes).unwrap();
    }
    (scratch.path("disk.raw"), RawSource::open(&scratch.path("base.raw")).unwrap())
}

/// Writes of several kinds, no two alike.
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
fn a_finished_log_ends_where_the_disk_stands() {
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
            must_object(&base, &log, &recovered, &Options::default(), sector).unwrap();
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

/// Every point at which the log can be cut off is read up to the last whole entry.
#[test]
fn a_log_cut_anywhere_yields_all_before_it() {
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

/// Waits until a log has `bytes` bytes.
fn grown_to(log: &Path, bytes: u64, writer: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(log).unwrap().len() < bytes {
        assert!(writer.try_wait().unwrap().is_none(), "the writer ended early");
        assert!(Instant::now() < deadline, "the log does not grow");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_killed_writer_leaves_a_log_that_reads() {
    for round in 0..4u64 {
        let scratch = Scratch::new();
        let (disk, base) = disks(&scratch, KILLED_DISK);
        let mut child = logged(&disk, &scratch.path("log"));
        let mut input = child.stdin.take().unwrap();
        // All at once, so that many are in flight. QEMU leaves the order of writes that overlap in flight
        // open, and no guest issues any, so each has its own place.
        let burst: Vec<_> = (0..4000u64)
            .map(|i| format!("aio_write -q -P {} {}k 64k", i % 251 + 1, (i * 7919 + round) % 4093 * 64))
            .collect();
        let feeder = std::thread::spawn(move || {
            // The reader dies while it is fed.
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
        assert!(log.len() > 10, "{}", log.len());
        match judgement.verdict {
            Verdict::Exact { cut, .. } => assert_eq!(cut.latest, Cut(log.len())),
            Verdict::Unknown { misfit, .. } => assert_eq!(misfit.stale + misfit.ahead, 0),
            other => panic!("round {round}, {:?}: {other}", log.end()),
        }
    }
}

/// While QEMU writes, the log is read as far as it goes.
#[test]
fn a_log_in_use_reads_before_its_superblock_is_written() {
    let scratch = Scratch::new();
    let (disk, base) = disks(&scratch, DISK);
    let mut child = logged(&disk, &scratch.path("log"));
    let mut input = child.stdin.take().unwrap();
    // It takes up one line each time its input becomes ready, so each is waited for.
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
