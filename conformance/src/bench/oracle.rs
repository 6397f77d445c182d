//! The oracle beside `qemu-img compare` and one read of the log, which is the least that any
//! program must do to judge a disk by its writes.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use camino::Utf8PathBuf;
use contract::Bytes;
use harness::oracle::{Options, RawSource, WriteLog, judge};
use harness::tools;

use super::figures::{Figures, Sample, table};
use super::pair::Pair;
use super::source::{self, Cache, Numbers};

/// Writes of a history, each of [`WRITE`] bytes at a random place.
const WRITES: u64 = 40_000;
/// Bytes of a write.
const WRITE: u64 = 8 << 10;
/// Writes from one flush to the next.
const EPOCH: u64 = 100;
/// Bytes of a sector of the log.
const SECTOR: u64 = 512;
/// What QEMU's `blklogwrites` puts into the superblock of a log: the magic number and the version.
const SUPERBLOCK: [u64; 2] = [0x006a_7366_7773_6872, 1];
/// The flag of an entry that is a flush.
const FLUSH: u64 = 1;

/// The disks of which one has a history: what they are called, their bytes, and the first bytes
/// that have content.
const DISKS: [(&str, u64, u64); 3] = [
    ("dense, 1 GiB", 1 << 30, 1 << 30),
    ("sparse, 8 GiB", 8 << 30, 1 << 30),
    ("sparse, 4 TiB", 4 << 40, 1 << 30),
];

/// Measures `rounds` rounds on each disk and returns a table.
pub(super) async fn run(pair: &Pair, rounds: u32, figures: &mut Figures) -> Result<String> {
    let mut rows = table(["disk", "oracle, seconds", "reference, seconds", "oracle / reference"]);
    for (name, size, used) in DISKS {
        let history = History::make(pair, size, used)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            theirs.push(history.reference().await?);
            ours.push(history.judge()?);
        }
        history.remove()?;
        figures.add(&format!("oracle, {name}"), &ours, &theirs)?;
        let sample = |times: &[Duration]| Sample::of_times(times).context("no round was run");
        let ratio = Sample::of_ratios(&ours, &theirs).context("no round was run")?;
        rows.add_row([
            name.to_owned(),
            sample(&ours)?.to_string(),
            sample(&theirs)?.to_string(),
            ratio.to_string(),
        ]);
    }
    Ok(format!(
        "The oracle on raw disks with {WRITES} random writes of {}, beside `qemu-img compare` of two such disks \
         and one read of the log, everything in the page cache, {rounds} alternating rounds:\n{rows}\n",
        Bytes(WRITE)
    ))
}

/// A disk before and after its writes, a second copy of it, and the log of the writes.
struct History {
    base: Utf8PathBuf,
    recovered: Utf8PathBuf,
    copy: Utf8PathBuf,
    log: Utf8PathBuf,
    size: u64,
}

impl History {
    fn make(pair: &Pair, size: u64, used: u64) -> Result<Self> {
        let [base, recovered, copy, log] =
            ["base.raw", "recovered.raw", "copy.raw", "log"].map(|name| pair.path(&format!("oracle-{name}")));
        for path in [&base, &recovered, &copy] {
            source::make(path, size, used)?;
        }
        let history = Self { base, recovered, copy, log, size };
        history.write(used).with_context(|| format!("write {}", history.log))?;
        for path in [&history.base, &history.recovered, &history.copy, &history.log] {
            File::open(path).and_then(|file| file.sync_all()).with_context(|| format!("sync {path}"))?;
        }
        Ok(history)
    }

    /// Writes at random places of the whole disk, half of them where it has content.
    fn write(&self, used: u64) -> io::Result<()> {
        let disks = [&self.recovered, &self.copy].map(|path| File::options().write(true).open(path));
        let mut log = BufWriter::new(File::create(&self.log)?);
        let entries = WRITES + WRITES / EPOCH;
        let superblock = [SUPERBLOCK[0], SUPERBLOCK[1], entries].map(u64::to_le_bytes).concat();
        log_sector(&mut log, &[superblock, (SECTOR as u32).to_le_bytes().to_vec()].concat())?;
        let mut numbers = Numbers::new(2);
        let mut data = [0; WRITE as usize];
        for number in 1..=WRITES {
            let within = if number % 2 == 0 { used } else { self.size };
            let at = numbers.next() % (within / WRITE) * WRITE;
            data.chunks_mut(8).for_each(|word| word.copy_from_slice(&numbers.next().to_le_bytes()));
            for disk in &disks {
                disk.as_ref().map_err(|error| io::Error::from(error.kind()))?.write_all_at(&data, at)?;
            }
            log_sector(&mut log, &[at / SECTOR, WRITE / SECTOR, 0, 0].map(u64::to_le_bytes).concat())?;
            log.write_all(&data)?;
            if number % EPOCH == 0 {
                log_sector(&mut log, &[0, 0, FLUSH, 0].map(u64::to_le_bytes).concat())?;
            }
        }
        log.flush()
    }

    fn warm(&self, paths: &[&Utf8PathBuf]) -> Result<()> {
        // The largest disk is a hole for the most part, and reading it all would take minutes.
        let small = paths.iter().filter(|path| **path == &self.log || self.size < 1 << 40);
        small.into_iter().try_for_each(|path| Cache::Warm.prepare(path))
    }

    fn judge(&self) -> Result<Duration> {
        self.warm(&[&self.base, &self.recovered, &self.log])?;
        let began = Instant::now();
        let log = WriteLog::open(self.log.as_std_path(), self.size)?;
        let base = RawSource::open(self.base.as_std_path())?;
        let recovered = RawSource::open(self.recovered.as_std_path())?;
        let judgement = judge(&base, &log, &recovered, &Options::default())?;
        let took = began.elapsed();
        ensure!(judgement.verdict.is_exact(), "a sound disk was judged: {judgement}");
        Ok(took)
    }

    /// `qemu-img compare` of two equal disks reads both to their ends.
    async fn reference(&self) -> Result<Duration> {
        self.warm(&[&self.copy, &self.recovered, &self.log])?;
        let began = Instant::now();
        let arguments =
            ["compare", "-q", "-f", "raw", "-F", "raw", self.copy.as_str(), self.recovered.as_str()];
        tools::run("qemu-img", &arguments).await?;
        Cache::Warm.prepare(&self.log)?;
        Ok(began.elapsed())
    }

    fn remove(self) -> Result<()> {
        for path in [&self.base, &self.recovered, &self.copy, &self.log] {
            std::fs::remove_file(path).with_context(|| format!("remove {path}"))?;
        }
        Ok(())
    }
}

/// Writes a sector of the log that begins with `bytes`.
fn log_sector(log: &mut impl io::Write, bytes: &[u8]) -> io::Result<()> {
    let mut sector = [0; SECTOR as usize];
    sector[..bytes.len()].copy_from_slice(bytes);
    log.write_all(&sector)
}
