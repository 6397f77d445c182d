//! The comparison refuses or compares any two partitions, and explains no sector without reason.

use fatdiff::{SECTOR, compare};

/// Most bytes of a partition that an input describes.
const MOST: usize = 3 << 20;
/// A file that may have been edited.
const EDITED: &str = "/syslinux.cfg";

/// Runs the target. The input holds parts of a partition, each as the number of its sector, its
/// length and its bytes; what no part covers is zero. Behind an empty part follow the parts that
/// differ in the second partition.
pub fn run(input: &[u8]) {
    let mut rest = input;
    let Some(sectors) = take(&mut rest, 2) else { return };
    let bytes = (number(sectors) * SECTOR).min(MOST);
    let mut before = vec![0; bytes];
    fill(&mut before, &mut rest);
    let mut after = before.clone();
    fill(&mut after, &mut rest);
    for edited in [&[][..], &[EDITED]] {
        let Ok(found) = compare(&before, &after, edited) else { continue };
        let differ = |sector: &u64| {
            let at = *sector as usize * SECTOR;
            before[at..at + SECTOR] != after[at..at + SECTOR]
        };
        let mut listed: Vec<u64> = found.explained.iter().cloned().flatten().collect();
        listed.extend(found.damage.iter().map(|damage| damage.sector));
        listed.sort_unstable();
        let differing: Vec<u64> = (0..(bytes / SECTOR) as u64).filter(differ).collect();
        assert_eq!(listed, differing, "every sector that differs is listed once");
    }
}

/// Fills a partition with parts until an empty one.
fn fill(partition: &mut [u8], rest: &mut &[u8]) {
    while let Some([low, high, length]) = take(rest, 3) {
        if *length == 0 {
            return;
        }
        let at = number(&[*low, *high]) * SECTOR / 4;
        let Some(content) = take(rest, usize::from(*length)) else { return };
        if let Some(part) = partition.get_mut(at..at + content.len()) {
            part.copy_from_slice(content);
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, more) = rest.split_at_checked(count)?;
    *rest = more;
    Some(taken)
}

fn number(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) | usize::from(bytes[1]) << 8
}
