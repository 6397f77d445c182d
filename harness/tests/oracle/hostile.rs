//! Hostile input: an error is acceptable, a panic is not.

use std::panic::catch_unwind;
use std::path::Path;

use harness::oracle::{
    LedgerIndex, LogError, MemorySource, Options, Qcow2Source, SectorSource, WriteLog, judge,
};
use proptest::prelude::*;

use super::build::{FLUSH, LogBytes, sectors};
use super::qemu::{Scratch, run, text};
use super::strategies::history;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Reads everything that can be read from a log.
fn exhaust(bytes: Vec<u8>, disk_bytes: u64) {
    let Ok(log) = WriteLog::from_bytes("hostile", bytes, disk_bytes) else { return };
    let _ = LedgerIndex::scan(&log).unwrap();
    let _ = log.first_position_of(b"x").unwrap();
    let blank = MemorySource(vec![0; disk_bytes as usize]);
    let _ = judge(&blank, &log, &blank, &Options::default()).unwrap();
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn random_bytes_are_no_log(bytes in prop::collection::vec(any::<u8>(), 0..4096), disk in 1u64..64) {
        exhaust(bytes, disk * 512);
    }

    #[test]
    fn random_headers_are_read_or_refused(
        headers in prop::collection::vec((0u64..70, prop_oneof![0u64..70, any::<u64>()], 0u64..40, 0usize..4), 0..20),
        counted: u64,
    ) {
        let mut log = LogBytes::new();
        for (sector, count, flags, data) in headers {
            log.header(sector, count, flags);
            log.bytes.extend(vec![1; data * 512]);
        }
        exhaust(log.counting(counted), 64 * 512);
    }

    #[test]
    fn a_flipped_bit_or_a_truncation_is_survived(
        history in history(12),
        at: prop::sample::Index,
        bit in 0u8..8,
        cut: Option<prop::sample::Index>,
    ) {
        let mut bytes = history.log_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        exhaust(bytes, history.disk_bytes());
    }
}

#[test]
fn damage_in_the_middle_is_an_error_with_its_offset() {
    let mut log = LogBytes::new();
    log.write(0, &sectors(&[1, 2]));
    log.header(3, 1, 1 << 20);
    log.flush();
    let error = WriteLog::from_bytes("bad.log", log.finish(), 1 << 20).unwrap_err();
    assert!(matches!(error, LogError::Malformed { offset: 2048, .. }), "{error}");
    assert_eq!(error.to_string(), "write log bad.log: malformed at byte 2048: unknown flags 0x100000");

    let mut log = LogBytes::new();
    log.header(2047, 2, FLUSH);
    let error = WriteLog::from_bytes("bad.log", log.finish(), 1 << 20).unwrap_err();
    let text =
        "write log bad.log: malformed at byte 512: 2 sectors at sector 2047 leave a disk of 2048 sectors";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_missing_log_is_named() {
    let error = WriteLog::open(Path::new("no/such.log"), 512).unwrap_err();
    assert!(error.to_string().contains("no/such.log"), "{error}");
}

/// Opens an image and reads as much of it as can be read.
fn read_image(path: &Path) -> Result<(), String> {
    let image = Qcow2Source::open(path).map_err(|e| e.to_string())?;
    let mut buf = vec![0; 64 << 10];
    let mut at = 0;
    // A hostile size may be huge; the beginning and the ranges said to be data are enough.
    for _ in 0..40 {
        let Some(data) = image.next_data(at).map_err(|e| e.to_string())? else { return Ok(()) };
        let len = (data.end - data.start).min(buf.len() as u64) as usize;
        image.read_at(data.start, &mut buf[..len]).map_err(|e| e.to_string())?;
        at = data.start + len as u64;
    }
    Ok(())
}

/// A small image with plain, compressed and zero clusters.
fn image(scratch: &Scratch) -> Vec<u8> {
    let (raw, plain, qcow2) = (scratch.path("raw"), scratch.path("plain"), scratch.path("image"));
    std::fs::write(
        &raw,
        [vec![7; 200 << 10], (0..200u32 << 10).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()].concat(),
    )
    .unwrap();
    run("qemu-img", &["convert", "-c", "-O", "qcow2", "-o", "cluster_size=4k", text(&raw), text(&plain)]);
    run("qemu-io", &["-c", "write -P 3 100k 64k", "-c", "write -z 300k 32k", text(&plain)]);
    std::fs::rename(&plain, &qcow2).unwrap();
    std::fs::read(&qcow2).unwrap()
}

#[test]
fn a_damaged_image_is_an_error_that_names_it() {
    let scratch = Scratch::new();
    let good = image(&scratch);
    read_image(&scratch.path("image")).unwrap();
    let path = scratch.path("bad");
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..4);
    let mut errors = 0;
    for round in 0..1500 {
        let mut bytes = good.clone();
        for (at, byte, in_header) in damage.new_tree(&mut runner).unwrap().current() {
            // Damage to tables has the most effect; most of the file is data.
            let tables = if in_header { 512 } else { bytes.len() };
            bytes[at.index(tables)] = byte;
        }
        if round % 7 == 0 {
            bytes.truncate(bytes.len() * (round % 100) / 100);
        }
        std::fs::write(&path, &bytes).unwrap();
        let read = catch_unwind(|| read_image(&path)).expect("a panic escaped");
        if let Err(error) = read {
            assert!(error.contains(text(&path)) || error.contains("the qcow2 reader"), "{error}");
            errors += 1;
        }
    }
    assert!(errors > 300, "only {errors} of 1500 damaged images were refused");
}

#[test]
fn random_bytes_are_no_image() {
    let scratch = Scratch::new();
    let path = scratch.path("bad");
    for (bytes, what) in [
        (vec![], "no qcow2 image"),
        (vec![9; 4096], "not a qcow2 image"),
        ([&b"QFI\xfb\0\0\0\x02"[..], &[0; 500]].concat(), "version 2"),
        ([&b"QFI\xfb\0\0\0\x03"[..], &[0xff; 500]].concat(), "clusters of 2^"),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let error = Qcow2Source::open(&path).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains(text(&path)), "{error}");
    }
}

use proptest::strategy::ValueTree;
