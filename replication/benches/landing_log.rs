//! The landing log beside a plain file that is given the same bytes and synchronised as often.

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use replication::landing_log::{Reader, Writer, path};

use beside::{beside, timed};

#[path = "../../xtask/bench/beside.rs"]
mod beside;

/// The usual extent: a grain.
const EXTENT: usize = 64 * 1024;
/// Extents of a transfer.
const EXTENTS: u64 = 64;
const BYTES: u64 = EXTENTS * EXTENT as u64;

fn content() -> Vec<u8> {
    (0..EXTENT).map(|at| ((at * 31) >> 3) as u8).collect()
}

fn land(dir: &Path, extent: &[u8]) -> u64 {
    let mut writer = Writer::create(dir, 1).expect("a new transfer");
    for index in 0..EXTENTS {
        writer.push(0, index * EXTENT as u64, extent).expect("an extent");
    }
    writer.seal().expect("a transfer")
}

fn append(path: &Path, extent: &[u8]) {
    let mut file = File::create(path).expect("a new file");
    (0..EXTENTS).for_each(|_| file.write_all(extent).expect("an extent"));
    file.sync_data().expect("a file on the disk");
}

fn read(path: &Path) -> usize {
    let mut reader = Reader::open(path).expect("a transfer");
    let next = || reader.next().expect("an extent");
    std::iter::from_fn(next).map(|extent| black_box(extent).data.len()).sum()
}

fn landing_log(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (extent, plain) = (content(), dir.path().join("plain"));
    beside(
        criterion,
        "landing log, write",
        BYTES,
        ("transfer", &mut || timed(|| land(dir.path(), &extent))),
        ("plain file", &mut || timed(|| append(&plain, &extent))),
    );
    land(dir.path(), &extent);
    append(&plain, &extent);
    let landed = path(dir.path(), 1);
    beside(
        criterion,
        "landing log, read",
        BYTES,
        ("transfer", &mut || timed(|| read(&landed))),
        ("plain file", &mut || timed(|| std::fs::read(&plain).expect("a file"))),
    );
}

criterion_group!(benches, landing_log);
criterion_main!(benches);
