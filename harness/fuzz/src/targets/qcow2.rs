//! The reader of qcow2 images refuses or reads, and what it calls a hole reads as zeroes.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Once;

use harness::oracle::{Qcow2Source, SectorSource};
use rustix::fs::{MemfdFlags, memfd_create};

/// Most bytes that are read at once.
const PIECE: u64 = 64 << 10;
/// Ranges that are read of an image whose size may be anything.
const RANGES: usize = 24;

/// Runs the target.
pub fn run(input: &[u8]) {
    allow_panics_of_the_reader();
    let mut file = File::from(memfd_create("image", MemfdFlags::CLOEXEC).expect("a file in memory"));
    file.write_all(input).expect("a file in memory");
    let Ok(image) = Qcow2Source::open(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))) else {
        return;
    };
    let mut at = 0;
    for _ in 0..RANGES {
        let Ok(found) = image.next_data(at) else { return };
        let end = image.bytes();
        let data = found.unwrap_or(end..end);
        assert!(at <= data.start && data.start <= data.end && data.end <= end, "{at} {data:?} {end}");
        zeroes(&image, at, data.start);
        if data.is_empty() {
            return;
        }
        let mut buffer = vec![0; (data.end - data.start).min(PIECE) as usize];
        if let Err(error) = image.read_at(data.start, &mut buffer) {
            assert!(!error.to_string().contains("thread ended"), "{error}");
            return;
        }
        at = data.start + buffer.len() as u64;
    }
}

fn zeroes(image: &Qcow2Source, from: u64, to: u64) {
    let mut buffer = vec![1; (to - from).min(PIECE) as usize];
    if image.read_at(from, &mut buffer).is_ok() {
        assert!(buffer.iter().all(|byte| *byte == 0), "a hole at {from} holds data");
    }
}

/// The reader turns panics of the crate that it uses into errors. libFuzzer would end at each.
fn allow_panics_of_the_reader() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some("qcow2-reader") {
                hook(panic);
            }
        }));
    });
}
