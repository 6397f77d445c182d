//! Judges the disks of a recovered machine.
//!
//! The oracle places each disk in its guest's own write order; the ledger, which spans all disks,
//! then says whether they were ever together in that state.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use camino::{Utf8Path, Utf8PathBuf};
use harness::oracle::{
    self, CutRange, Entry, JoinVerdict, Judgement, LedgerIndex, LedgerJoin, Options, OracleError, Position,
    Qcow2Source, RawSource, Verdict as OracleVerdict, WriteLog,
};
use witness::ledger::RecordNumber;

use crate::digest;
use crate::hydration;
use crate::outcome::{DiskEvidence, DiskOutcome, EdgeEvidence};

/// One disk to be judged, by the files that hold the evidence.
#[derive(Clone, Debug)]
pub struct DiskUnderTest {
    /// `system`, `data`, …
    pub name: String,
    /// What the source disk held before its write log began.
    pub initial_image: Utf8PathBuf,
    /// Every write of the guest since then.
    pub log: Utf8PathBuf,
    /// The recovered disk, raw.
    pub recovered: Utf8PathBuf,
    /// Files of the boot partition that hydration may have edited. Of the sectors that differ from
    /// the initial image, those that such edits explain are not compared.
    pub editable_files: Vec<String>,
    /// What the second reader compares; `Err` says why it does not read this disk.
    pub second_reader: Result<SecondReading, String>,
}

impl DiskUnderTest {
    /// The sectors that are not compared.
    fn ignored_sectors(&self) -> Vec<Range<u64>> {
        let files: Vec<_> = self.editable_files.iter().map(String::as_str).collect();
        hydration::edited_sectors(&self.initial_image, &self.recovered, &files)
    }
}

/// A disk that two independent readers can read.
#[derive(Clone, Debug)]
pub struct SecondReading {
    /// The qcow2 image, with its backing chain, for the second reader.
    pub image: Utf8PathBuf,
    /// What QEMU read from the same image, raw.
    pub read_by_qemu: Utf8PathBuf,
}

/// A disk and the oracle's verdict on it.
#[derive(Debug)]
pub struct JudgedDisk {
    /// The verdict as it goes into the report.
    pub outcome: DiskOutcome,
    /// The disk's place in the write order, if it holds a state that power loss can leave.
    pub cut: Option<CutRange>,
    /// Writes before that place that the disk lacks, all of them after its last flush.
    pub lost: Vec<Position>,
    /// Whether the disk holds every write of the log.
    pub complete: bool,
    /// Its write log.
    pub log: Arc<WriteLog>,
    ledger: LedgerIndex,
}

/// Writes that the source's logs hold and the recovered disks do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostWrites {
    /// Number of writes, acknowledged or not.
    pub writes: u64,
    /// Bytes of those writes.
    pub bytes: u64,
}

/// All disks of a machine, joined by the ledger.
#[derive(Debug)]
pub struct JudgedMachine {
    /// Disks in boot order.
    pub disks: Vec<JudgedDisk>,
    /// The last ledger record before the write logs began.
    pub initial_record: RecordNumber,
    /// The join by the ledger; `None` if a disk has no exact place in its write order.
    pub join: Option<LedgerJoin>,
    /// Writes after the disks' places in the write order.
    pub lost: LostWrites,
}

impl JudgedMachine {
    /// The first reason why this is not a state that the machine was in, or that power loss can
    /// leave of one, if there is one.
    #[must_use]
    pub fn objection(&self) -> Option<String> {
        let disks = self
            .disks
            .iter()
            .find(|disk| disk.cut.is_none() || disk.outcome.second_reader.starts_with("differs"));
        if let Some(disk) = disks {
            let DiskOutcome { name, words, second_reader, .. } = &disk.outcome;
            return Some(match disk.cut {
                None => format!("disk {name}: {words}"),
                Some(_) => format!("disk {name}: the second reader {second_reader}"),
            });
        }
        match &self.join.as_ref()?.verdict {
            JoinVerdict::Consistent { .. } => None,
            JoinVerdict::Broken { present, missing, .. } => Some(format!(
                "the disks were never in this state together: ledger record {present} is present and {missing}, \
                 which was written before it, is missing"
            )),
        }
    }

    /// Why nothing can be said about the disks, if that is the only objection: the oracle has no
    /// verdict on one of them, and no other is wrong.
    #[must_use]
    pub fn unknown(&self) -> Option<String> {
        let mut doubtful = self.disks.iter().filter(|disk| disk.cut.is_none()).peekable();
        let first = doubtful.peek()?;
        let why = format!("disk {}: {}", first.outcome.name, first.outcome.words);
        let differs = self.disks.iter().any(|disk| disk.outcome.second_reader.starts_with("differs"));
        (!differs && doubtful.all(|disk| disk.outcome.oracle == "unknown")).then_some(why)
    }

    /// The highest ledger record before which none is missing, by the disks alone.
    #[must_use]
    pub fn contiguous(&self) -> Option<RecordNumber> {
        self.join.as_ref().map(|join| join.contiguous)
    }

    /// For a machine of a replication group: the highest record of its neighbour that it had seen,
    /// by the disks alone.
    #[must_use]
    pub fn seen(&self) -> Option<RecordNumber> {
        self.join.as_ref().map(|join| join.seen)
    }

    /// The findings about all disks together, as they go into the report.
    #[must_use]
    pub fn evidence(&self) -> EdgeEvidence {
        EdgeEvidence {
            initial_record: Some(self.initial_record),
            disks: self.disks.iter().map(|disk| disk.outcome.name.clone()).collect(),
            contiguous: self.contiguous(),
            seen: self.seen(),
            complete: self.complete(),
            lost_writes: self.lost.writes,
            lost_bytes: self.lost.bytes,
            objection: self.objection(),
        }
    }

    /// Whether the disks hold every write of their logs.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.disks.iter().all(|disk| disk.complete)
    }
}

/// Judges all disks at the same time and joins them by the ledger. `initial_record` is the last
/// ledger record before the write logs began. Paths in the outcome are relative to `dir`.
///
/// # Errors
/// A log, a disk or the second reader cannot be read: there is no verdict.
pub async fn judge(
    disks_under_test: Vec<DiskUnderTest>,
    initial_record: RecordNumber,
    dir: &Utf8Path,
) -> Result<JudgedMachine> {
    let whole_logs = disks_under_test.into_iter().map(|disk| (disk, u64::MAX)).collect();
    judge_first_writes(whole_logs, initial_record, dir).await
}

/// Like [`judge`], but by the first writes of each log alone, as many as stand beside the disk. A
/// log goes on after a disk was judged if its machine does.
pub(crate) async fn judge_first_writes(
    disks_under_test: Vec<(DiskUnderTest, u64)>,
    initial_record: RecordNumber,
    dir: &Utf8Path,
) -> Result<JudgedMachine> {
    let tasks: Vec<_> = disks_under_test
        .into_iter()
        .map(|(disk, writes)| {
            let dir = dir.to_owned();
            tokio::task::spawn_blocking(move || judge_disk(&disk, writes, &dir))
        })
        .collect();
    let mut disks = Vec::new();
    for task in tasks {
        disks.push(task.await.context("judge a disk")??);
    }
    let cuts: Option<Vec<_>> = disks.iter().map(|disk| disk.cut.map(|cut| (&disk.ledger, cut))).collect();
    let join = cuts.map(|cuts| oracle::join(&cuts, initial_record));
    let mut lost = LostWrites::default();
    for disk in &disks {
        if let Some(cut) = disk.cut {
            let (writes, bytes) = disk.log.writes_after(cut.earliest);
            let unflushed = disk.lost.iter().filter_map(|position| disk.log.entry(*position));
            lost.writes += writes + disk.lost.len() as u64;
            lost.bytes += bytes + unflushed.map(Entry::data_bytes).sum::<u64>();
        }
    }
    Ok(JudgedMachine { disks, initial_record, join, lost })
}

fn judge_disk(disk: &DiskUnderTest, writes: u64, dir: &Utf8Path) -> Result<JudgedDisk> {
    let DiskUnderTest { name, initial_image, log, recovered, editable_files, second_reader } = disk;
    let initial =
        RawSource::open(initial_image.as_std_path()).with_context(|| format!("read {initial_image}"))?;
    let recovered_source =
        RawSource::open(recovered.as_std_path()).with_context(|| format!("read {recovered}"))?;
    let write_log = open_log(log, std::fs::metadata(initial_image)?.len())?.truncated(writes);
    let ignored_sectors = disk.ignored_sectors();
    let options = Options { exempt: ignored_sectors.clone(), ..Options::default() };
    let finding = match oracle::judge(&initial, &write_log, &recovered_source, &options) {
        Ok(judgement) => Finding::of(&judgement),
        Err(error @ OracleError::RecoveredSize { .. }) => Finding::wrong_size(&error),
        Err(error) => return Err(error).with_context(|| format!("judge disk {name}")),
    };
    let (cut, lost) = (finding.cut, finding.lost);
    let second_reader = match second_reader {
        Ok(reading) => compare_readers(reading).with_context(|| format!("read {} again", reading.image))?,
        Err(why) => format!("not asked: {why}"),
    };
    let relative = |path: &Utf8Path| path.strip_prefix(dir).unwrap_or(path).to_string();
    let first_and_count = |range: &Range<u64>| (range.start, range.end - range.start);
    let outcome = DiskOutcome {
        name: name.clone(),
        oracle: finding.class.to_owned(),
        cut: cut.map(|cut| cut.earliest.0),
        of: write_log.len(),
        compared: finding.compared,
        words: finding.words,
        second_reader,
        evidence: DiskEvidence {
            base: relative(initial_image),
            log: relative(log),
            recovered: relative(recovered),
            editable_files: editable_files.clone(),
            ignored_sectors: ignored_sectors.iter().map(first_and_count).collect(),
            digests: Some(digest::of_evidence(&initial, &write_log, &recovered_source)?),
        },
    };
    let ledger =
        LedgerIndex::scan_without(&write_log, &lost).with_context(|| format!("find the ledger in {log}"))?;
    let complete = lost.is_empty() && cut.is_some_and(|cut| cut.latest.0 == write_log.len());
    Ok(JudgedDisk { outcome, cut, lost, complete, log: Arc::new(write_log), ledger })
}

/// What the oracle found about one disk.
struct Finding {
    class: &'static str,
    /// The disk's place in the write order, if it holds a state that power loss can leave.
    cut: Option<CutRange>,
    /// Writes before that place that the disk lacks.
    lost: Vec<Position>,
    /// Bytes compared.
    compared: u64,
    words: String,
}

impl Finding {
    fn of(judgement: &Judgement) -> Self {
        let (cut, lost) = judgement.verdict.state().unzip();
        Self {
            class: class(&judgement.verdict),
            cut,
            lost: lost.unwrap_or_default().to_vec(),
            compared: judgement.bytes_compared,
            words: judgement.to_string(),
        }
    }

    /// A disk that is not as large as the one that was replicated. That is the core's failure, and
    /// no content is compared.
    fn wrong_size(error: &OracleError) -> Self {
        Self { class: "wrong-size", cut: None, lost: Vec::new(), compared: 0, words: error.to_string() }
    }
}

fn open_log(path: &Utf8Path, disk_bytes: u64) -> Result<WriteLog> {
    WriteLog::open(path.as_std_path(), disk_bytes).with_context(|| format!("read the write log {path}"))
}

/// Compares what QEMU read from an image with what the independent reader reads.
fn compare_readers(reading: &SecondReading) -> Result<String> {
    let by_qemu = RawSource::open(reading.read_by_qemu.as_std_path())?;
    let by_second_reader = Qcow2Source::open(reading.image.as_std_path())?;
    Ok(match oracle::compare(&by_qemu, &by_second_reader)? {
        None => "agrees".to_owned(),
        Some(sector) => format!("differs from QEMU at sector {sector}"),
    })
}

/// The name of the oracle's verdict class in `results.json`.
#[must_use]
pub fn class(verdict: &OracleVerdict) -> &'static str {
    match verdict {
        OracleVerdict::Exact { .. } => "exact",
        OracleVerdict::EpochConsistent { .. } => "epoch-consistent",
        OracleVerdict::Torn { .. } => "torn",
        OracleVerdict::Reordered { .. } => "reordered",
        OracleVerdict::Foreign { .. } => "foreign",
        OracleVerdict::Unknown { .. } => "unknown",
    }
}

/// Tests the oracle on a recovered disk: alters, in memory, one sector that the guest wrote and one
/// that it did not write, and requires that the oracle reports exactly those sectors. Returns the
/// sectors that were altered.
///
/// # Errors
/// The oracle did not report an altered sector, so none of its verdicts can be trusted.
pub async fn self_test_oracle(disk: DiskUnderTest, seed: u64) -> Result<String> {
    let test = tokio::task::spawn_blocking(move || {
        let initial = RawSource::open(disk.initial_image.as_std_path())?;
        let recovered = RawSource::open(disk.recovered.as_std_path())?;
        let log = open_log(&disk.log, std::fs::metadata(&disk.initial_image)?.len())?;
        let options = Options { exempt: disk.ignored_sectors(), ..Options::default() };
        let sectors = oracle::flip_sectors(seed, &log, &options);
        let chosen: Vec<_> = [sectors.written, sectors.unwritten].into_iter().flatten().collect();
        if chosen.is_empty() {
            return Err(anyhow!("disk {} has no sector to alter", disk.name));
        }
        for sector in &chosen {
            oracle::self_test(&initial, &log, &recovered, &options, *sector)?;
        }
        let list: Vec<_> = chosen.iter().map(u64::to_string).collect();
        Ok(format!("{}: sectors {}", disk.name, list.join(" and ")))
    });
    test.await.context("alter a sector")?
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK_BYTES: usize = 1 << 20;

    /// A log in the dm-log-writes format: one write that fills sector 8 with ones.
    fn log_of_one_write() -> Vec<u8> {
        let mut log = vec![0; 512];
        for (at, number) in [(0, 0x006a_7366_7773_6872_u64), (8, 1), (16, 1)] {
            log[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        log[24..28].copy_from_slice(&512_u32.to_le_bytes());
        let mut header = [0; 512];
        header[..8].copy_from_slice(&8_u64.to_le_bytes());
        header[8..16].copy_from_slice(&1_u64.to_le_bytes());
        log.extend_from_slice(&header);
        log.extend_from_slice(&[1; 512]);
        log
    }

    /// A disk that was recovered with the only write of its log.
    fn disk_under_test(dir: &Utf8Path) -> DiskUnderTest {
        let mut recovered = vec![0; DISK_BYTES];
        recovered[8 * 512..9 * 512].fill(1);
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        DiskUnderTest {
            name: "data".to_owned(),
            initial_image: put("initial", &vec![0; DISK_BYTES]),
            log: put("log", &log_of_one_write()),
            recovered: put("recovered", &recovered),
            editable_files: vec![],
            second_reader: Err("not in this test".to_owned()),
        }
    }

    fn dir() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[test]
    fn a_disk_with_all_writes_is_exact_and_complete() {
        let (_keep, dir) = dir();
        let judged = judge_disk(&disk_under_test(&dir), u64::MAX, &dir).unwrap();
        assert_eq!((judged.outcome.oracle.as_str(), judged.outcome.cut), ("exact", Some(1)));
        assert!(judged.complete);
    }

    #[tokio::test]
    async fn a_recovered_disk_of_another_size_is_an_objection_and_no_error() {
        for bytes in [DISK_BYTES - 1, DISK_BYTES - 512, DISK_BYTES + 1, DISK_BYTES + 512, 0] {
            let (_keep, dir) = dir();
            let disk = disk_under_test(&dir);
            let file = std::fs::File::options().write(true).open(&disk.recovered).unwrap();
            file.set_len(bytes as u64).unwrap();
            let machine = judge(vec![disk], 0, &dir).await.unwrap();
            assert_eq!(machine.disks[0].outcome.oracle, "wrong-size");
            let objection = machine.objection().unwrap();
            let text = format!("disk data: the recovered disk has {bytes} bytes, ");
            assert!(objection.starts_with(&text), "{objection}");
        }
    }

    /// A disk whose log has a write to sector 8, a flush, a write to sector 9 and one to sector 10.
    fn after_a_flush(dir: &Utf8Path, on_disk: [u64; 2]) -> DiskUnderTest {
        let disk = disk_under_test(dir);
        let mut log = log_of_one_write();
        for (sector, sectors, flags) in [(0_u64, 0_u64, 1_u64), (9, 1, 0), (10, 1, 0)] {
            log.extend([sector, sectors, flags, 0].map(u64::to_le_bytes).concat());
            log.resize(log.len().next_multiple_of(512), 0);
            log.extend(vec![1; 512 * sectors as usize]);
        }
        log[16..24].copy_from_slice(&4_u64.to_le_bytes());
        std::fs::write(&disk.log, log).unwrap();
        let mut recovered = vec![0; DISK_BYTES];
        for sector in on_disk {
            recovered[sector as usize * 512..][..512].fill(1);
        }
        std::fs::write(&disk.recovered, recovered).unwrap();
        disk
    }

    #[tokio::test]
    async fn a_disk_that_lacks_a_write_after_its_last_flush_is_sound_and_not_complete() {
        let (_keep, dir) = dir();
        let machine = judge(vec![after_a_flush(&dir, [8, 10])], 0, &dir).await.unwrap();
        assert_eq!(machine.disks[0].outcome.oracle, "epoch-consistent");
        assert_eq!(machine.objection(), None);
        assert_eq!((machine.complete(), machine.lost), (false, LostWrites { writes: 1, bytes: 512 }));
    }

    #[tokio::test]
    async fn a_disk_that_lacks_a_flushed_write_is_an_objection() {
        let (_keep, dir) = dir();
        let machine = judge(vec![after_a_flush(&dir, [9, 10])], 0, &dir).await.unwrap();
        assert_eq!(machine.disks[0].outcome.oracle, "reordered");
        assert!(machine.objection().is_some() && machine.unknown().is_none());
    }

    #[test]
    fn a_truncated_log_never_yields_an_exact_disk() {
        let (_keep, dir) = dir();
        let disk = disk_under_test(&dir);
        let log = std::fs::read(&disk.log).unwrap();
        for length in [0, 100, 512, 700, log.len() - 1] {
            std::fs::write(&disk.log, &log[..length]).unwrap();
            if let Ok(judged) = judge_disk(&disk, u64::MAX, &dir) {
                assert!(judged.cut.is_none() && !judged.complete, "{length}: {}", judged.outcome.words);
            }
        }
    }

    #[tokio::test]
    async fn a_log_that_lost_its_end_makes_a_disk_unknown_and_hides_no_other_disk() {
        let (_keep, dir) = dir();
        let unknown = disk_under_test(&dir);
        // The header still says how many writes there are.
        let log = std::fs::read(&unknown.log).unwrap();
        std::fs::write(&unknown.log, &log[..512]).unwrap();
        let machine = judge(vec![unknown.clone()], 0, &dir).await.unwrap();
        assert_eq!(machine.disks[0].outcome.oracle, "unknown");
        assert!(machine.unknown().is_some() && machine.objection().is_some());
        let wrong = dir.join("wrong");
        std::fs::write(&wrong, vec![7; DISK_BYTES]).unwrap();
        std::fs::write(dir.join("whole-log"), &log).unwrap();
        let wrong = DiskUnderTest { recovered: wrong, log: dir.join("whole-log"), ..unknown.clone() };
        assert_eq!(judge(vec![unknown, wrong], 0, &dir).await.unwrap().unknown(), None);
    }

    #[test]
    fn a_damaged_qcow2_is_an_error_that_names_the_image() {
        let (_keep, dir) = dir();
        let mut disk = disk_under_test(&dir);
        let image = dir.join("point.qcow2");
        std::fs::write(&image, b"QFI\xfb and then nothing of the sort").unwrap();
        disk.second_reader = Ok(SecondReading { image: image.clone(), read_by_qemu: disk.recovered.clone() });
        let error = format!("{:#}", judge_disk(&disk, u64::MAX, &dir).unwrap_err());
        assert!(error.contains(image.as_str()), "{error}");
    }

    #[tokio::test]
    async fn the_oracle_reports_the_sectors_that_the_self_test_altered() {
        let (_keep, dir) = dir();
        let altered = self_test_oracle(disk_under_test(&dir), 1).await.unwrap();
        assert!(altered.starts_with("data: sectors 8 and "), "{altered}");
    }
}
