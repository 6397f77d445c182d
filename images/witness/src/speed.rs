//! Measures how fast a disk accepts small random writes, with a given number of them in progress.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use witness::protocol::{Measure, Measured};
use witness::random::Random;

use crate::background_writes::{BLOCK, LARGEST_WRITE};

/// Size of the file that is written.
const FILE_BYTES: u64 = 24 * 1024 * 1024;
const DEEPEST: u32 = 64;
const LONGEST: Duration = Duration::from_secs(60);

/// Writes for the requested time, with one thread for each write in progress.
pub(crate) fn measure(path: &Path, wanted: Measure) -> io::Result<Measured> {
    let Measure { depth, bytes, for_ms, .. } = wanted;
    let lasts = Duration::from_millis(for_ms.into());
    if !(1..=DEEPEST).contains(&depth) || bytes == 0 || !bytes.is_multiple_of(BLOCK) || bytes > LARGEST_WRITE
    {
        let bounds = format!(
            "allowed are 1 to {DEEPEST} writes at a time, of a multiple of {BLOCK} up to {LARGEST_WRITE} bytes"
        );
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{wanted:?} is out of range: {bounds}"),
        ));
    }
    if lasts > LONGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{lasts:?} is longer than {LONGEST:?}"),
        ));
    }
    fill(path)?;
    let file = direct(path)?;
    let began = Instant::now();
    let until = began + lasts;
    let writes = std::thread::scope(|scope| {
        let writers = (0..depth).map(|stream| {
            let (file, random) = (&file, Random::for_stream(wanted.seed, stream.into()));
            scope.spawn(move || write_until(file, bytes as usize, random, until))
        });
        let writers: Vec<_> = writers.collect();
        let ended = writers.into_iter().map(|writer| {
            writer.join().unwrap_or_else(|_| Err(io::Error::other("a writing thread panicked")))
        });
        ended.sum::<io::Result<u64>>()
    })?;
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Measured { writes, took_us })
}

/// Writes the whole file once. Otherwise the file system would journal the first write of each
/// block, and the first measurement would be slower than the next.
fn fill(path: &Path) -> io::Result<()> {
    if path.metadata().is_ok_and(|known| known.len() == FILE_BYTES) {
        return Ok(());
    }
    let file = File::create(path)?;
    let mut content = vec![0; LARGEST_WRITE as usize];
    let mut random = Random::for_stream(0, 0);
    for offset in (0..FILE_BYTES).step_by(content.len()) {
        random.fill(&mut content);
        file.write_all_at(&content, offset)?;
    }
    file.sync_all()
}

/// Opens the file for direct I/O; without it a measurement would be meaningless.
fn direct(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path)
}

fn write_until(file: &File, bytes: usize, mut random: Random, until: Instant) -> io::Result<u64> {
    let mut buffer = vec![0; bytes + BLOCK as usize];
    let aligned = buffer.as_ptr().align_offset(BLOCK as usize);
    let content = &mut buffer[aligned..aligned + bytes];
    random.fill(content);
    let slots = FILE_BYTES / bytes as u64;
    let mut writes = 0;
    while Instant::now() < until {
        // Each write has new bytes, but only a few: generating all of them would cost more than
        // writing them.
        content[..8].copy_from_slice(&random.next_u64().to_le_bytes());
        file.write_all_at(content, random.below(slots) * bytes as u64)?;
        writes += 1;
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Measure = Measure { depth: 4, bytes: BLOCK, for_ms: 50, seed: 1 };

    #[test]
    fn writes_are_counted_and_stay_inside_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("speed");
        let measured = measure(&path, WANTED).expect("measured");
        assert!(measured.writes >= u64::from(WANTED.depth) && measured.took_us >= 50_000, "{measured:?}");
        assert_eq!(path.metadata().expect("there").len(), FILE_BYTES);
    }

    #[test]
    fn an_invalid_measurement_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("speed");
        for odd in [
            Measure { depth: 0, ..WANTED },
            Measure { depth: 65, ..WANTED },
            Measure { bytes: 512, ..WANTED },
            Measure { for_ms: 61_000, ..WANTED },
        ] {
            assert!(measure(&path, odd).is_err(), "{odd:?}");
        }
        assert!(!path.exists());
    }
}
