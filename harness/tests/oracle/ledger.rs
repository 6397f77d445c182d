//! Joining disks by the ledger.

use harness::oracle::{Cut, CutRange, JoinVerdict, LedgerIndex, LedgerJoin, Position, WriteLog, join};
use proptest::prelude::*;
use witness::ledger::{Record, RecordNumber};

use super::build::{LogBytes, SECTOR, sector};

fn record(number: RecordNumber) -> Record {
    Record { number, epoch: 1, uptime_ms: number / 10, seen: number / 2, quiesced: false }
}

/// The log of a disk with one record per write; 0 stands for a write without a record.
fn disk(records: &[RecordNumber]) -> LedgerIndex {
    let mut log = LogBytes::new();
    for (i, number) in records.iter().enumerate() {
        let data = if *number == 0 { sector(1) } else { record(*number).encode() };
        log.write(i as u64, &[sector(2), data].concat());
    }
    let log = WriteLog::from_bytes("ledger", log.finish(), 1 << 20).unwrap();
    LedgerIndex::scan(&log).unwrap()
}

fn joined(disks: &[(&[RecordNumber], u64, u64)], already: RecordNumber) -> LedgerJoin {
    let indices: Vec<_> = disks.iter().map(|(records, ..)| disk(records)).collect();
    let ranges = disks.iter().map(|(_, from, to)| CutRange { earliest: Cut(*from), latest: Cut(*to) });
    join(&indices.iter().zip(ranges).collect::<Vec<_>>(), already)
}

#[test]
fn records_are_found_where_they_were_first_written() {
    let mut log = LogBytes::new();
    log.write(5, &[sector(1), record(3).encode(), record(4).encode()].concat());
    log.write(6, &record(3).encode());
    let mut torn = record(9).encode();
    torn[100] ^= 1;
    log.write(8, &torn);
    let log = WriteLog::from_bytes("ledger", log.finish(), 1 << 20).unwrap();
    let index = LedgerIndex::scan(&log).unwrap();
    let found = index.sighting(1, 3).unwrap();
    assert_eq!((found.position, found.sector, found.record), (Position(1), 6, record(3)));
    assert_eq!((index.sightings().count(), index.torn()), (2, 1));
    assert!(index.sighting(2, 3).is_none());
    assert_eq!(index.highest_at(Cut(0)), None);
}

#[test]
fn consecutive_records_are_consistent() {
    let found = joined(&[(&[1, 3, 5], 2, 2), (&[2, 4, 6], 1, 1)], 0);
    assert_eq!(found.verdict, JoinVerdict::Consistent { every_choice: true });
    assert_eq!((found.contiguous, found.highest.clone(), found.seen), (3, vec![Some(3), Some(2)], 1));
    assert_eq!(found.to_string(), "consistent: the disks hold records up to 3");
}

#[test]
fn a_record_without_its_predecessor_is_a_broken_cut() {
    let found = joined(&[(&[1, 3, 5], 3, 3), (&[2, 4, 6], 1, 1)], 0);
    let broken = JoinVerdict::Broken { present: 5, missing: 4, disk_present: 0, disk_missing: Some(1) };
    assert_eq!((found.verdict.clone(), found.contiguous), (broken, 3));
    assert_eq!(found.to_string(), "broken cut: disk 0 holds record 5, disk 1 lacks record 4");
}

#[test]
fn a_record_that_is_in_no_log_is_a_broken_cut_as_well() {
    let found = joined(&[(&[1, 3], 2, 2), (&[0], 1, 1)], 0);
    let broken = JoinVerdict::Broken { present: 3, missing: 2, disk_present: 0, disk_missing: None };
    assert_eq!(found.verdict, broken);
}

#[test]
fn records_from_before_the_log_count_as_present() {
    let found = joined(&[(&[41, 43], 1, 1), (&[42], 0, 0)], 40);
    assert_eq!(found.verdict, JoinVerdict::Consistent { every_choice: true });
    assert_eq!((found.contiguous, found.highest), (41, vec![Some(41), None]));
    assert_eq!(joined(&[(&[41, 43], 0, 0), (&[42], 0, 0)], 40).contiguous, 40);
    assert!(matches!(joined(&[(&[41], 1, 1)], 39).verdict, JoinVerdict::Broken { missing: 40, .. }));
}

#[test]
fn a_range_is_narrowed_to_consistent_cuts() {
    // Disk 1 may stand before or after record 2; disk 0 holds record 3, so only after is
    // consistent.
    let found = joined(&[(&[1, 3], 2, 2), (&[2, 0, 4], 0, 2)], 0);
    assert_eq!(found.verdict, JoinVerdict::Consistent { every_choice: false });
    assert_eq!((found.cuts, found.contiguous), (vec![Cut(2), Cut(1)], 3));
}

#[test]
fn a_record_number_out_of_reach_is_handled() {
    let found = joined(&[(&[u64::MAX, 1], 2, 2)], 0);
    assert!(matches!(found.verdict, JoinVerdict::Broken { present: u64::MAX, .. }));
    assert_eq!(joined(&[], u64::MAX).verdict, JoinVerdict::Consistent { every_choice: true });
}

/// Whether no record is missing at these cuts.
fn complete(disks: &[Vec<RecordNumber>], cuts: &[u64], already: RecordNumber) -> bool {
    let mut there: Vec<_> = disks.iter().zip(cuts).flat_map(|(d, cut)| d[..*cut as usize].to_vec()).collect();
    there.retain(|number| *number > already);
    there.sort_unstable();
    there.dedup();
    (already + 1..).zip(&there).all(|(expected, found)| expected == *found)
}

/// Every choice of cuts within the ranges.
fn choices(ranges: &[(u64, u64)]) -> Vec<Vec<u64>> {
    ranges.iter().fold(vec![Vec::new()], |all, (from, to)| {
        all.iter().flat_map(|cuts| (*from..=*to).map(|cut| [&cuts[..], &[cut]].concat())).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_join_equals_trying_all_choices(
        count in 0u64..9,
        order in prop::collection::vec((0usize..3, any::<bool>()), 9),
        bounds in prop::collection::vec((any::<prop::sample::Index>(), 0u64..4), 3),
        already in 0u64..3,
    ) {
        let mut disks = vec![Vec::new(); 3];
        for (number, (disk, swap)) in (1..=count).zip(&order) {
            disks[*disk].push(number);
            // Some disks hold their records out of order.
            if let (true, [.., a, b]) = (*swap, &mut disks[*disk][..]) { std::mem::swap(a, b); }
        }
        let ranges: Vec<_> = disks.iter().zip(&bounds).map(|(disk, (from, len))| {
            let from = from.index(disk.len() + 1) as u64;
            (from, (from + len).min(disk.len() as u64))
        }).collect();
        let input: Vec<_> = disks.iter().zip(&ranges).map(|(d, (from, to))| (&d[..], *from, *to)).collect();
        let found = joined(&input, already);
        let fitting: Vec<_> = choices(&ranges).into_iter().filter(|cuts| complete(&disks, cuts, already)).collect();
        match found.verdict {
            JoinVerdict::Consistent { every_choice } => {
                let chosen: Vec<u64> = found.cuts.iter().map(|cut| cut.0).collect();
                prop_assert!(fitting.contains(&chosen), "{chosen:?}");
                prop_assert!(fitting.iter().all(|cuts| cuts.iter().zip(&chosen).all(|(a, b)| a >= b)));
                prop_assert_eq!(every_choice, fitting.len() == choices(&ranges).len());
            }
            JoinVerdict::Broken { present, missing, .. } => {
                prop_assert!(fitting.is_empty(), "{fitting:?}");
                prop_assert_eq!(present, missing + 1);
            }
        }
    }
}

const _: () = assert!(SECTOR == witness::ledger::RECORD_BYTES);

#[test]
fn a_record_in_a_write_that_the_disk_lost_is_missing() {
    let mut log = LogBytes::new();
    (1..4).for_each(|number| log.write(number, &record(number).encode()));
    let log = WriteLog::from_bytes("ledger", log.finish(), 1 << 20).unwrap();
    let index = LedgerIndex::scan_without(&log, &[Position(2)]).unwrap();
    let found = join(&[(&index, CutRange::at(Cut(3)))], 0).verdict;
    assert!(matches!(found, JoinVerdict::Broken { present: 3, missing: 2, .. }), "{found:?}");
}
