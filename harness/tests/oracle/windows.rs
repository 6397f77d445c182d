//! Disks larger than one window of the oracle.

use std::fs::File;
use std::os::unix::fs::FileExt;

use harness::oracle::{Cut, Options, RawSource, Verdict, WriteLog, judge, self_test};

use super::build::{LogBytes, sectors};
use super::qemu::Scratch;

const MIB: u64 = 1 << 20;
const DISK: u64 = 100 * MIB;
/// Sectors per window.
const WINDOW: u64 = 32 << 10;

/// Byte offsets with their contents; zeroes elsewhere.
type State = Vec<(u64, Vec<u8>)>;

/// A write across the end of a window, a discard across several and a write at the end of the disk,
/// with the state after each.
fn history() -> (WriteLog, Vec<State>) {
    let (over, last) = (WINDOW - 2, DISK / 512 - 3);
    let mut log = LogBytes::new();
    log.write(over, &sectors(&[1, 2, 3, 4]));
    log.write(last, &sectors(&[5, 6, 7]));
    log.discard(10, 4 * WINDOW);
    log.write(over + 1, &sectors(&[8, 9]));
    let at = |sector, contents: &[u8]| (sector * 512, sectors(contents));
    let first = at(over, &[1, 2, 3, 4]);
    let end = at(last, &[5, 6, 7]);
    let states = vec![
        vec![],
        vec![first.clone()],
        vec![first, end.clone()],
        vec![at(over, &[0, 2, 0, 4]), end.clone()],
        vec![at(over, &[0, 8, 9, 4]), end],
    ];
    (WriteLog::from_bytes("windows", log.finish(), DISK).unwrap(), states)
}

fn disk(scratch: &Scratch, contents: &[(u64, Vec<u8>)]) -> RawSource {
    let file = File::create(scratch.path("disk")).unwrap();
    file.set_len(DISK).unwrap();
    contents.iter().for_each(|(at, data)| file.write_all_at(data, *at).unwrap());
    RawSource::open(&scratch.path("disk")).unwrap()
}

fn base(scratch: &Scratch) -> RawSource {
    let file = File::create(scratch.path("base")).unwrap();
    file.set_len(DISK).unwrap();
    RawSource::open(&scratch.path("base")).unwrap()
}

#[test]
fn writes_across_the_end_of_a_window_are_placed() {
    let scratch = Scratch::new();
    let (log, states) = history();
    for (cut, state) in states.iter().enumerate() {
        let judgement = judge(&base(&scratch), &log, &disk(&scratch, state), &Options::default()).unwrap();
        let Verdict::Exact { feasible, .. } = &judgement.verdict else { panic!("{cut}: {judgement}") };
        assert!(feasible.iter().any(|range| range.contains(Cut(cut as u64))), "{cut}: {judgement}");
        assert_eq!((judgement.sectors_compared, judgement.sectors_written), (DISK / 512, 4 * WINDOW + 3));
    }
}

#[test]
fn half_a_write_across_the_end_of_a_window_is_torn() {
    let scratch = Scratch::new();
    let mut log = LogBytes::new();
    log.write(WINDOW - 2, &sectors(&[1, 2, 3, 4]));
    let log = WriteLog::from_bytes("windows", log.finish(), DISK).unwrap();
    let half = vec![((WINDOW - 2) * 512, sectors(&[1, 2]))];
    let judgement = judge(&base(&scratch), &log, &disk(&scratch, &half), &Options::default()).unwrap();
    assert!(matches!(judgement.verdict, Verdict::Torn { new: 2, old: 2, .. }), "{judgement}");
}

#[test]
fn an_altered_sector_in_a_hole_is_reported() {
    let scratch = Scratch::new();
    let (log, states) = history();
    let (base, recovered) = (base(&scratch), disk(&scratch, &states[4]));
    for sector in
        [0, 9, 10, WINDOW, 4 * WINDOW + 9, 4 * WINDOW + 10, 5 * WINDOW, DISK / 512 - 4, DISK / 512 - 1]
    {
        self_test(&base, &log, &recovered, &Options::default(), sector).unwrap();
    }
}
