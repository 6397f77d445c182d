//! The reader of write logs agrees with the independent one, and a disk is "exact" only where the
//! independently read writes put its content.

use arbitrary::{Result, Unstructured};
use harness::oracle::{Cut, LedgerIndex, LogEnd, MemorySource, Options, Verdict, WriteLog, judge};

use super::independent_log::{self, Log, Write};

const SECTOR: usize = 512;

/// Runs the target. The log begins with the fifth byte.
pub fn run(input: &[u8]) {
    let Some((chosen, log)) = input.split_first_chunk::<4>() else { return };
    let mut chosen = Unstructured::new(chosen);
    let disk_sectors = chosen.int_in_range(1..=64).unwrap_or(1);
    let Ok(read) = WriteLog::from_bytes("fuzz", log.to_vec(), disk_sectors * SECTOR as u64) else { return };
    let independent = independent_log::read(log);
    same(&read, &independent);
    LedgerIndex::scan(&read).expect("a log in memory is readable");
    read.first_position_of(b"x").expect("a log in memory is readable");
    exact_only_where_it_is(&read, &independent, disk_sectors as usize, &mut chosen)
        .expect("choices are total");
}

fn same(read: &WriteLog, independent: &Log) {
    assert_eq!(read.len(), independent.writes.len() as u64);
    assert_eq!(read.flushes(), independent.flushes);
    assert_eq!(matches!(read.end(), LogEnd::Complete | LogEnd::MissingEntries { .. }), independent.complete);
    for (entry, write) in read.entries().iter().zip(&independent.writes) {
        assert_eq!(
            (entry.sector, entry.sectors, entry.is_discard()),
            (write.sector, write.sectors, write.discard)
        );
        let mut data = vec![0; write.data.len()];
        if !write.discard {
            read.read_data(entry, 0, &mut data).expect("a complete entry is readable");
        }
        assert_eq!(data, write.data);
    }
}

/// Judges a disk that holds the first writes and perhaps one byte more. If the oracle says "exact",
/// then the disk holds what it says.
fn exact_only_where_it_is(
    log: &WriteLog,
    independent: &Log,
    disk_sectors: usize,
    chosen: &mut Unstructured<'_>,
) -> Result<()> {
    let blank = vec![0; disk_sectors * SECTOR];
    let most = independent.writes.len();
    let applied = chosen.int_in_range(0..=255_usize)?.min(most);
    let mut disk = blank.clone();
    independent.writes[..applied].iter().for_each(|write| apply(&mut disk, write));
    let altered = chosen.int_in_range(0..=2 * disk_sectors)?;
    if altered < disk_sectors {
        disk[altered * SECTOR + 100] ^= 0x55;
    }
    let recovered = MemorySource(disk.clone());
    let judged = judge(&MemorySource(blank.clone()), log, &recovered, &Options::default());
    let judged = judged.expect("disks in memory are readable");
    match judged.verdict {
        Verdict::Exact { feasible, .. } => {
            for Cut(cut) in feasible.iter().flat_map(|range| [range.earliest, range.latest]) {
                assert!(permits(&blank, &independent.writes[..cut as usize], &disk), "not exact at {cut}");
            }
        }
        other => assert!(altered < disk_sectors, "a disk of {applied} writes is {other}"),
    }
    Ok(())
}

/// Applies a write; a discard leaves zeroes.
fn apply(disk: &mut [u8], write: &Write) {
    let at = write.sector as usize * SECTOR;
    // The last log sector of a disk may reach beyond its end.
    let end = (at + write.sectors as usize * SECTOR).min(disk.len());
    match write.discard {
        true => disk[at..end].fill(0),
        false => disk[at..end].copy_from_slice(&write.data[..end - at]),
    }
}

/// Whether a disk may hold this content after these writes: a discarded sector holds its old
/// content or zeroes.
fn permits(base: &[u8], writes: &[Write], disk: &[u8]) -> bool {
    let sectors = base.chunks(SECTOR).zip(disk.chunks(SECTOR)).zip(0_u64..);
    let mut allowed = sectors.map(|((base, found), sector)| {
        let mut state: Vec<&[u8]> = vec![base];
        for write in writes.iter().filter(|w| (w.sector..w.sector + w.sectors).contains(&sector)) {
            if write.discard {
                state.push(&[0; SECTOR]);
            } else {
                let at = (sector - write.sector) as usize * SECTOR;
                state = vec![&write.data[at..at + SECTOR]];
            }
        }
        state.contains(&found)
    });
    allowed.all(|allowed| allowed)
}
