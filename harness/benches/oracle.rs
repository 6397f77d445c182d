//! The oracle's inner loops, each beside the least that any program must do with the same bytes:
//! the index of a log beside one read of the file, and the judgement of a disk beside one
//! comparison of two disks and one read of the log.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use harness::oracle::{MemorySource, Options, WriteLog, judge};

use beside::{beside, timed};

#[path = "../../xtask/bench/beside.rs"]
mod beside;

/// Bytes of a sector of the log.
const SECTOR: usize = 512;
/// Bytes of a write.
const WRITE: usize = 8 << 10;
/// Writes of the log.
const WRITES: u64 = 4_000;
/// Bytes of the disk.
const DISK: usize = 64 << 20;
/// What QEMU's `blklogwrites` puts into the superblock: the magic number and the version.
const SUPERBLOCK: [u64; 2] = [0x006a_7366_7773_6872, 1];

/// A disk before and after the writes of a log, and the log.
struct History {
    base: MemorySource,
    recovered: MemorySource,
    log: Vec<u8>,
}

impl History {
    /// Writes at places that the seed of a linear congruential generator chooses.
    fn new() -> Self {
        let superblock = [SUPERBLOCK[0], SUPERBLOCK[1], WRITES].map(u64::to_le_bytes).concat();
        let mut log = Vec::new();
        push_sector(&mut log, &[superblock, (SECTOR as u32).to_le_bytes().to_vec()].concat());
        let base = MemorySource(vec![0; DISK]);
        let mut recovered = base.0.clone();
        let mut number = 7_u64;
        for write in 1..=WRITES {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (number >> 33) as usize % (DISK / WRITE) * WRITE;
            let data = &mut recovered[at..at + WRITE];
            data.chunks_mut(8).for_each(|word| word.copy_from_slice(&(number ^ write).to_le_bytes()));
            let head = [at / SECTOR, WRITE / SECTOR, 0, 0].map(|field| (field as u64).to_le_bytes());
            push_sector(&mut log, &head.concat());
            log.extend_from_slice(data);
        }
        Self { base, recovered: MemorySource(recovered), log }
    }

    fn judge(&self, path: &Path) {
        let log = WriteLog::open(path, DISK as u64).expect("a log");
        let found = judge(&self.base, &log, &self.recovered, &Options::default()).expect("a judgement");
        assert!(found.verdict.is_exact(), "{found}");
    }
}

/// Appends a sector that begins with `bytes`.
fn push_sector(log: &mut Vec<u8>, bytes: &[u8]) {
    let end = log.len() + SECTOR;
    log.extend_from_slice(bytes);
    log.resize(end, 0);
}

fn oracle(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (history, path) = (History::new(), dir.path().join("log"));
    std::fs::write(&path, &history.log).expect("a file");
    let read = || std::fs::read(&path).expect("a file");
    beside(
        criterion,
        "oracle, index of a log",
        history.log.len() as u64,
        ("index", &mut || timed(|| WriteLog::open(&path, DISK as u64).expect("a log"))),
        ("read", &mut || timed(read)),
    );
    let equal = history.recovered.0.clone();
    beside(
        criterion,
        "oracle, judgement",
        DISK as u64,
        ("judge", &mut || timed(|| history.judge(&path))),
        ("compare and read", &mut || timed(|| (black_box(&equal) == &history.recovered.0, read()))),
    );
}

criterion_group!(benches, oracle);
criterion_main!(benches);
