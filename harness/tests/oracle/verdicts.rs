//! One history for each verdict, and the sentence that describes it.

use harness::oracle::{
    Cut, FlipSectors, Flipped, LogEnd, MemorySource, Options, OracleError, Position, RawSource, SectorSource,
    UnknownCause, Verdict, WriteLog, flip_sectors, judge, self_test,
};

use super::build::{LogBytes, SECTOR, sector, sectors};
use super::qemu::Scratch;

const DISK: usize = 16;

fn log_of(build: impl FnOnce(&mut LogBytes)) -> WriteLog {
    let mut log = LogBytes::new();
    build(&mut log);
    WriteLog::from_bytes("test", log.finish(), (DISK * SECTOR) as u64).unwrap()
}

fn disk(contents: &[(usize, u8)]) -> MemorySource {
    let mut all = [0u8; DISK];
    for (sector, content) in contents {
        all[*sector] = *content;
    }
    MemorySource(sectors(&all))
}

fn verdict(log: &WriteLog, recovered: &[(usize, u8)]) -> Verdict {
    judge(&disk(&[]), log, &disk(recovered), &Options::default()).unwrap().verdict
}

/// Three writes of two sectors each, flushed after the first and the second.
fn three_writes() -> WriteLog {
    log_of(|log| {
        log.write(0, &sectors(&[1, 1]));
        log.flush();
        log.write(4, &sectors(&[2, 2]));
        log.flush();
        log.write(8, &sectors(&[3, 3]));
    })
}

#[test]
fn a_prefix_is_exact() {
    let found = verdict(&three_writes(), &[(0, 1), (1, 1), (4, 2), (5, 2)]);
    assert_eq!(found.to_string(), "exact: the first 2 of 3 writes");
    let judgement = judge(&disk(&[]), &three_writes(), &disk(&[]), &Options::default()).unwrap();
    assert_eq!(judgement.to_string(), "exact: the first 0 of 3 writes");
    assert_eq!(
        (judgement.sectors_written, judgement.sectors_compared, judgement.bytes_compared),
        (6, 16, 8192)
    );
}

#[test]
fn content_that_changes_back_gives_several_ranges() {
    let log = log_of(|log| [1, 2, 1].iter().for_each(|content| log.write(3, &sector(*content))));
    let found = verdict(&log, &[(3, 1)]);
    assert_eq!(found.to_string(), "exact: the first 1 to 3 of 3 writes, in 2 ranges of identical content");
}

#[test]
fn half_a_write_is_torn() {
    let found = verdict(&three_writes(), &[(0, 1), (1, 1), (4, 2)]);
    assert_eq!(
        found.to_string(),
        "torn: write 2 of 3 is on the disk only in part, 1 of its sectors are new and 1 old, first at sector 5"
    );
}

#[test]
fn a_write_without_its_predecessor_is_reordered() {
    let found = verdict(&three_writes(), &[(0, 1), (1, 1), (8, 3), (9, 3)]);
    assert_eq!(
        found.to_string(),
        "reordered: sector 4 lacks write 2 but sector 8 holds write 3 of 3, first disagreement at write 2; \
         best fit 3 with 2 sectors stale, 0 ahead, 0 foreign"
    );
    assert_eq!(found.offending_sector(), Some(4));
}

#[test]
fn between_flushes_any_subset_of_whole_writes_is_consistent() {
    let log = log_of(|log| {
        log.write(0, &sector(1));
        log.flush();
        for s in 1..5 {
            log.write(s, &sector(2));
        }
        log.flush();
        log.write(9, &sector(3));
    });
    let found = verdict(&log, &[(0, 1), (2, 2), (4, 2)]);
    assert_eq!(
        found.to_string(),
        "epoch-consistent: the first 1 of 6 writes, flushed, and 2 of the 4 writes up to the next flush"
    );
    // With one write from after the next flush it is no longer consistent.
    assert!(matches!(verdict(&log, &[(0, 1), (2, 2), (4, 2), (9, 3)]), Verdict::Reordered { .. }));
}

#[test]
fn unknown_content_is_foreign() {
    let found = verdict(&three_writes(), &[(0, 1), (1, 1), (4, 2), (5, 9)]);
    assert_eq!(
        found.to_string(),
        "foreign content at sector 5 (last written by entry 2 of 3); best fit 2 with 0 sectors stale, 0 ahead, 1 foreign"
    );
    let found = verdict(&three_writes(), &[(0, 1), (1, 1), (7, 1)]);
    assert!(found.to_string().contains("sector 7 (never written, but different from the base)"), "{found}");
}

#[test]
fn a_log_truncated_in_its_last_entry_leaves_only_that_unknown() {
    let mut log = LogBytes::new();
    log.write(0, &sectors(&[1, 1]));
    log.header(4, 3, 0);
    log.bytes.extend(sector(7));
    let log = WriteLog::from_bytes("cut", log.counting(0), (DISK * SECTOR) as u64).unwrap();
    let end = LogEnd::PartialData { offset: 2048, sector: 4, sectors: 3, missing: 1024 };
    assert_eq!((log.len(), log.end()), (1, end));
    assert!(verdict(&log, &[(0, 1), (1, 1)]).is_exact());
    let found = verdict(&log, &[(0, 1), (1, 1), (5, 8)]);
    assert!(matches!(found, Verdict::Unknown { cause: UnknownCause::IncompleteEntry, .. }), "{found}");
    assert!(matches!(verdict(&log, &[(0, 1), (1, 1), (7, 8)]), Verdict::Foreign { .. }));
    assert!(matches!(verdict(&log, &[(0, 1), (1, 1), (5, 8), (12, 1)]), Verdict::Foreign { .. }));
}

#[test]
fn a_log_that_lost_entries_reports_it() {
    let disk_bytes = (DISK * SECTOR) as u64;
    let mut log = LogBytes::new();
    log.write(0, &sector(1));
    let short = WriteLog::from_bytes("short", log.clone().counting(5), disk_bytes).unwrap();
    assert_eq!(short.end(), LogEnd::MissingEntries { counted: 5, found: 1 });
    let found = verdict(&short, &[(0, 1), (3, 4)]);
    assert!(matches!(found, Verdict::Unknown { cause: UnknownCause::LostEntries, .. }), "{found}");

    // The lost entries can explain new content, but not old content.
    let mut older = LogBytes::new();
    older.write(0, &sector(1));
    (1..6).for_each(|s| older.write(s, &sector(2)));
    let older = WriteLog::from_bytes("older", older.counting(50), disk_bytes).unwrap();
    assert!(matches!(verdict(&older, &[(0, 1), (9, 9)]), Verdict::Foreign { .. }));
    assert!(matches!(verdict(&older, &[(3, 2)]), Verdict::EpochConsistent { .. }));

    log.bytes.extend([0; 3 * SECTOR]);
    let padded = WriteLog::from_bytes("padded", log.clone().counting(1), disk_bytes).unwrap();
    assert_eq!((padded.len(), padded.end()), (1, LogEnd::Complete));
    log.write(2, &sector(2));
    let gap = WriteLog::from_bytes("gap", log.counting(1), disk_bytes).unwrap();
    assert_eq!((gap.len(), gap.end()), (1, LogEnd::Gap { offset: 1536, lost: 2560 }));
    let five: Vec<_> = (8..13).map(|s| (s, 9)).chain([(0, 1)]).collect();
    assert!(matches!(verdict(&gap, &five), Verdict::Unknown { cause: UnknownCause::LostEntries, .. }));
    // Five log sectors were lost; they cannot explain six sectors of the disk.
    let six: Vec<_> = five.iter().copied().chain([(13, 9)]).collect();
    assert!(matches!(verdict(&gap, &six), Verdict::Foreign { .. }));
}

#[test]
fn a_killed_writer_may_have_had_writes_in_flight() {
    let options = Options { in_flight_sectors: 2, ..Options::default() };
    let (log, base) = (three_writes(), disk(&[]));
    let all = [(0, 1), (1, 1), (4, 2), (5, 2), (8, 3), (9, 3)];
    let with = |more: &[(usize, u8)]| {
        let recovered = disk(&[&all, more].concat());
        judge(&base, &log, &recovered, &options).unwrap().verdict
    };
    assert!(with(&[]).is_exact());
    assert!(matches!(with(&[(10, 9), (11, 9)]), Verdict::Unknown { cause: UnknownCause::InFlight, .. }));
    assert!(matches!(with(&[(10, 9), (11, 9), (12, 9)]), Verdict::Foreign { .. }));
}

#[test]
fn exempt_sectors_are_ignored_and_counted() {
    let options = Options { exempt: std::iter::once(4..8).collect(), ..Options::default() };
    let judgement = judge(&disk(&[]), &three_writes(), &disk(&[(0, 1), (1, 1), (6, 9)]), &options).unwrap();
    // Write 2 lies completely inside the exempt range, so the disk may stand before or after it.
    assert_eq!(judgement.to_string(), "exact: the first 1 to 2 of 3 writes (3 exempt sectors differ)");
    assert_eq!((judgement.sectors_compared, judgement.sectors_written), (12, 4));
}

#[test]
fn comparing_nothing_or_disks_of_different_sizes_is_an_error() {
    let (log, base) = (three_writes(), disk(&[]));
    let all = Options { exempt: std::iter::once(0..99).collect(), ..Options::default() };
    assert!(matches!(judge(&base, &log, &base, &all), Err(OracleError::NothingCompared { exempt: 16, .. })));
    let empty = WriteLog::from_bytes("empty", Vec::new(), 0).unwrap();
    let none = MemorySource::default();
    assert!(matches!(
        judge(&none, &empty, &none, &Options::default()),
        Err(OracleError::NothingCompared { .. })
    ));
    let longer = MemorySource(vec![0; (DISK + 1) * SECTOR]);
    let error = judge(&base, &log, &longer, &Options::default()).unwrap_err();
    assert!(matches!(error, OracleError::RecoveredSize { base: 8192, recovered: 8704 }), "{error}");
    let error = judge(&longer, &log, &longer, &Options::default()).unwrap_err();
    assert!(matches!(error, OracleError::SizeMismatch { base: 8704, log: 8192 }), "{error}");
}

#[test]
fn a_recovered_file_that_lacks_one_byte_is_not_of_its_disks_size() {
    let scratch = Scratch::new();
    let log = three_writes();
    let base = disk(&[]);
    for (missing, expected) in [(0, None), (1, Some(8191)), (SECTOR as u64, Some(7680))] {
        let path = scratch.path(&format!("lacks-{missing}"));
        std::fs::write(&path, &base.0).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len((DISK * SECTOR) as u64 - missing).unwrap();
        let found = judge(&base, &log, &RawSource::open(&path).unwrap(), &Options::default());
        match (found, expected) {
            (Ok(judgement), None) => assert!(judgement.verdict.is_exact()),
            (Err(OracleError::RecoveredSize { base: 8192, recovered }), Some(bytes)) => {
                assert_eq!(recovered, bytes);
            }
            (found, _) => panic!("{missing} bytes missing: {found:?}"),
        }
    }
}

#[test]
fn an_altered_sector_is_always_reported() {
    let (log, base) = (three_writes(), disk(&[]));
    let recovered = disk(&[(0, 1), (1, 1)]);
    let options = Options { exempt: std::iter::once(0..1).collect(), ..Options::default() };
    let mut chosen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let FlipSectors { written, unwritten } = flip_sectors(seed, &log, &options);
        assert_eq!(flip_sectors(seed, &log, &options), FlipSectors { written, unwritten });
        for sector in [written.unwrap(), unwritten.unwrap()] {
            self_test(&base, &log, &recovered, &options, sector).unwrap();
            chosen.insert(sector);
        }
    }
    assert_eq!(chosen, (1..DISK as u64).collect());
    let error = self_test(&base, &log, &recovered, &options, 0).unwrap_err();
    assert!(error.to_string().contains("self-test"), "{error}");
    assert_eq!(Flipped::new(&recovered, 3).bytes(), recovered.bytes());
}

#[test]
fn a_log_answers_questions_about_rpo() {
    let log = log_of(|log| {
        log.write(0, &sectors(&[1, 2]));
        log.discard(0, 4);
        log.write(3, &sectors(&[3]));
    });
    assert_eq!(log.writes_after(Cut(0)), (3, 3 * 512));
    assert_eq!(log.writes_after(Cut(1)), (2, 512));
    assert_eq!(log.writes_after(Cut(9)), (0, 0));
    assert_eq!(log.first_position_of(&sector(3)[500..]).unwrap(), Some(Position(3)));
    assert_eq!(log.first_position_of(&[0x5a; 513]).unwrap(), None);
    assert_eq!(log.first_position_of(&[]).unwrap(), None);
    assert_eq!(log.last_write_of(1, Cut(1)), Some(Position(1)));
    assert!(log.entry(Position(2)).is_some_and(|entry| entry.is_discard() && entry.range() == (0..4)));
    assert_eq!((log.entry(Position(0)), log.entry(Position(4))), (None, None));
}

#[test]
fn verdicts_survive_a_round_trip_through_json() {
    let log = three_writes();
    for recovered in [&[][..], &[(0, 1)], &[(4, 2), (5, 2)], &[(4, 9)]] {
        let judgement = judge(&disk(&[]), &log, &disk(recovered), &Options::default()).unwrap();
        let json = serde_json::to_string(&judgement).unwrap();
        assert_eq!(serde_json::from_str::<harness::oracle::Judgement>(&json).unwrap(), judgement, "{json}");
    }
}
