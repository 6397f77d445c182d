//! Measures how long a judgement takes. Run with `--release -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use harness::oracle::{LedgerIndex, Options, RawSource, Verdict, WriteLog, judge};

use super::build::LogBytes;
use super::qemu::Scratch;

const DISK: u64 = 256 << 20;
const WRITES: u64 = 20_000;

/// 20,000 writes of 4 to 64 KiB, 660 MiB in all, so that a disk of 256 MiB is rewritten two to
/// three times.
fn history() -> (Vec<u8>, Vec<u8>) {
    let (mut log, mut disk) = (LogBytes::new(), vec![0; DISK as usize]);
    for i in 0..WRITES {
        let len = (i % 16 + 1) * 4096;
        let at = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % ((DISK - len) / 4096) * 4096;
        let data: Vec<u8> = (0..len / 8).flat_map(|word| (i << 32 | word).to_le_bytes()).collect();
        log.write(at / 512, &data);
        disk[at as usize..(at + len) as usize].copy_from_slice(&data);
        if i % 100 == 0 {
            log.flush();
        }
    }
    (log.finish(), disk)
}

#[test]
#[ignore = "writes 1.2 GB and measures"]
fn a_large_log_is_judged_in_seconds() {
    let scratch = Scratch::new();
    let (log, mut disk) = history();
    std::fs::write(scratch.path("log"), log).unwrap();
    std::fs::write(scratch.path("disk"), &disk).unwrap();
    std::fs::File::create(scratch.path("base")).unwrap().set_len(DISK).unwrap();
    let base = RawSource::open(&scratch.path("base")).unwrap();

    let start = Instant::now();
    let log = WriteLog::open(&scratch.path("log"), DISK).unwrap();
    println!("index of {} writes: {:?}", log.len(), start.elapsed());
    let timed = |what: &str| {
        let recovered = RawSource::open(&scratch.path("disk")).unwrap();
        let start = Instant::now();
        let judgement = judge(&base, &log, &recovered, &Options::default()).unwrap();
        println!("{what}: {:?}: {judgement}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(30));
        judgement.verdict
    };
    assert!(timed("exact").is_exact());
    disk[1 << 20] ^= 1;
    std::fs::write(scratch.path("disk"), &disk).unwrap();
    assert!(matches!(timed("foreign"), Verdict::Foreign { .. }));
    let start = Instant::now();
    LedgerIndex::scan(&log).unwrap();
    println!("ledger: {:?}", start.elapsed());
}
