//! A recovered machine's disks before the oracle.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use camino::{Utf8Path, Utf8PathBuf};
use harness::oracle::{
    self, CutRange, JoinVerdict, LedgerIndex, LedgerJoin, Options, Qcow2Source, RawSource,
    Verdict as OracleVerdict, WriteLog,
};
use witness::ledger::RecordNumber;

use crate::outcome::{DiskEvidence, DiskOutcome};

/// One disk to be judged.
#[derive(Clone, Debug)]
pub struct DiskUnderTest {
    /// `system`, `data`, …
    pub name: String,
    /// What the source disk held before its log began.
    pub base: Utf8PathBuf,
    /// Every write since.
    pub log: Utf8PathBuf,
    /// The recovered disk, raw.
    pub recovered: Utf8PathBuf,
    /// Sectors that hydration may have edited.
    pub exempt: Vec<Range<u64>>,
    /// An image chain for the second reader and what QEMU read from it; `Err`: why it is not asked.
    pub second: Result<(Utf8PathBuf, Utf8PathBuf), String>,
}

/// A disk and what the oracle said of it.
#[derive(Debug)]
pub struct JudgedDisk {
    /// For the report.
    pub outcome: DiskOutcome,
    /// Where it stands, if it stands exactly somewhere.
    pub cut: Option<CutRange>,
    /// Whether its cut reaches the end of the log.
    pub complete: bool,
    /// Its write log.
    pub log: Arc<WriteLog>,
    ledger: LedgerIndex,
}

/// All disks of a machine, joined.
#[derive(Debug)]
pub struct JudgedMachine {
    /// Disks in order.
    pub disks: Vec<JudgedDisk>,
    /// The join by the ledger; `None` if a disk stands nowhere exactly.
    pub join: Option<LedgerJoin>,
    /// Writes and bytes after the cuts.
    pub lost: (u64, u64),
}

impl JudgedMachine {
    /// The first objection, if there is one.
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
                "the disks were never together like this: ledger record {present} is there and {missing} is not"
            )),
        }
    }

    /// Highest ledger record with all before it, by the disks alone.
    #[must_use]
    pub fn contiguous(&self) -> Option<RecordNumber> {
        self.join.as_ref().map(|join| join.contiguous)
    }

    /// In a group: the last record of the neighbour that this machine had seen, by the disks alone.
    #[must_use]
    pub fn seen(&self) -> Option<RecordNumber> {
        self.join.as_ref().map(|join| join.seen)
    }

    /// Whether nothing of any log is missing.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.disks.iter().all(|disk| disk.complete)
    }
}

/// Judges all disks side by side and joins them. `initial_record`: the last ledger record before the logs began.
///
/// # Errors
/// A log, a disk or the second reader fails: nothing can be said.
pub async fn judge(
    disks_under_test: Vec<DiskUnderTest>,
    initial_record: RecordNumber,
    dir: &Utf8Path,
) -> Result<JudgedMachine> {
    let tasks: Vec<_> = disks_under_test
        .into_iter()
        .map(|exhibit| {
            let dir = dir.to_owned();
            tokio::task::spawn_blocking(move || judge_disk(&exhibit, &dir))
        })
        .collect();
    let mut disks = Vec::new();
    for task in tasks {
        disks.push(task.await.context("judge a disk")??);
    }
    let cuts: Option<Vec<_>> = disks.iter().map(|disk| disk.cut.map(|cut| (&disk.ledger, cut))).collect();
    let join = cuts.map(|cuts| oracle::join(&cuts, initial_record));
    let lost = disks.iter().filter_map(|disk| Some(disk.log.writes_after(disk.cut?.earliest)));
    let lost = lost.fold((0, 0), |sum, (writes, bytes)| (sum.0 + writes, sum.1 + bytes));
    Ok(JudgedMachine { disks, join, lost })
}

fn judge_disk(exhibit: &DiskUnderTest, dir: &Utf8Path) -> Result<JudgedDisk> {
    let DiskUnderTest { name, base, log, recovered, exempt, second } = exhibit;
    let base_source = RawSource::open(base.as_std_path()).with_context(|| format!("read {base}"))?;
    let recovered_source =
        RawSource::open(recovered.as_std_path()).with_context(|| format!("read {recovered}"))?;
    let write_log = open_log(log, std::fs::metadata(base)?.len())?;
    let options = Options { exempt: exempt.clone(), ..Options::default() };
    let judgement = oracle::judge(&base_source, &write_log, &recovered_source, &options)
        .with_context(|| format!("judge disk {name}"))?;
    let cut = judgement.verdict.cut().filter(|_| judgement.verdict.is_exact());
    let second_reader = match second {
        Ok((image, by_qemu)) => {
            second_reading(image, by_qemu).with_context(|| format!("read {image} again"))?
        }
        Err(why) => format!("not asked: {why}"),
    };
    let relative = |path: &Utf8Path| path.strip_prefix(dir).unwrap_or(path).to_string();
    let outcome = DiskOutcome {
        name: name.clone(),
        oracle: class(&judgement.verdict).to_owned(),
        cut: cut.map(|cut| cut.earliest.0),
        of: write_log.len(),
        compared: judgement.bytes_compared,
        words: judgement.to_string(),
        second_reader,
        evidence: DiskEvidence {
            base: relative(base),
            log: relative(log),
            recovered: relative(recovered),
            exempt: exempt.iter().map(|range| (range.start, range.end - range.start)).collect(),
        },
    };
    let ledger = LedgerIndex::scan(&write_log).with_context(|| format!("find the ledger in {log}"))?;
    let complete = cut.is_some_and(|cut| cut.latest.0 == write_log.len());
    Ok(JudgedDisk { outcome, cut, complete, log: Arc::new(write_log), ledger })
}

fn open_log(path: &Utf8Path, disk_bytes: u64) -> Result<WriteLog> {
    WriteLog::open(path.as_std_path(), disk_bytes).with_context(|| format!("read the write log {path}"))
}

/// Reads the image chain with the independent reader and compares it with what QEMU read.
fn second_reading(image: &Utf8Path, by_qemu: &Utf8Path) -> Result<String> {
    let by_qemu = RawSource::open(by_qemu.as_std_path())?;
    let again = Qcow2Source::open(image.as_std_path())?;
    Ok(match oracle::compare(&by_qemu, &again)? {
        None => "agrees".to_owned(),
        Some(sector) => format!("differs from QEMU at sector {sector}"),
    })
}

/// The oracle's class as a word.
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

/// Alters a sector of a recovered disk, in memory, and demands that the oracle objects to that very sector:
/// one that the guest wrote and one that it never did.
///
/// # Errors
/// It does not: no verdict of this run is worth anything.
pub async fn self_test_oracle(exhibit: DiskUnderTest, seed: u64) -> Result<String> {
    let proof = tokio::task::spawn_blocking(move || {
        let base = RawSource::open(exhibit.base.as_std_path())?;
        let recovered = RawSource::open(exhibit.recovered.as_std_path())?;
        let log = open_log(&exhibit.log, std::fs::metadata(&exhibit.base)?.len())?;
        let options = Options { exempt: exhibit.exempt.clone(), ..Options::default() };
        let sectors = oracle::flip_sectors(seed, &log, &options);
        let chosen: Vec<_> = [sectors.written, sectors.unwritten].into_iter().flatten().collect();
        if chosen.is_empty() {
            return Err(anyhow!("disk {} has no sector to alter", exhibit.name));
        }
        for sector in &chosen {
            oracle::self_test(&base, &log, &recovered, &options, *sector)?;
        }
        let list: Vec<_> = chosen.iter().map(u64::to_string).collect();
        Ok(format!("{}: sectors {}", exhibit.name, list.join(" and ")))
    });
    proof.await.context("alter a sector")?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DISK_BYTES: usize = 1 << 20;

    /// A log in the dm-log-writes format with one write of ones to sector 8.
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

    /// A disk that was recovered with its one write.
    fn exhibit(dir: &Utf8Path) -> DiskUnderTest {
        let mut recovered = vec![0; DISK_BYTES];
        recovered[8 * 512..9 * 512].fill(1);
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        DiskUnderTest {
            name: "data".to_owned(),
            base: put("base", &vec![0; DISK_BYTES]),
            log: put("log", &log_of_one_write()),
            recovered: put("recovered", &recovered),
            exempt: vec![],
            second: Err("not in this test".to_owned()),
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
        let judged = judge_disk(&exhibit(&dir), &dir).unwrap();
        assert_eq!((judged.outcome.oracle.as_str(), judged.outcome.cut), ("exact", Some(1)));
        assert!(judged.complete);
    }

    #[test]
    fn a_log_cut_short_is_never_an_exact_disk() {
        let (_keep, dir) = dir();
        let exhibit = exhibit(&dir);
        let log = std::fs::read(&exhibit.log).unwrap();
        for length in [0, 100, 512, 700, log.len() - 1] {
            std::fs::write(&exhibit.log, &log[..length]).unwrap();
            if let Ok(judged) = judge_disk(&exhibit, &dir) {
                assert!(judged.cut.is_none() && !judged.complete, "{length}: {}", judged.outcome.words);
            }
        }
    }

    #[test]
    fn a_damaged_qcow2_is_an_error_that_names_it() {
        let (_keep, dir) = dir();
        let mut exhibit = exhibit(&dir);
        let image = dir.join("point.qcow2");
        std::fs::write(&image, b"QFI\xfb and then nothing of the sort").unwrap();
        exhibit.second = Ok((image.clone(), exhibit.recovered.clone()));
        let error = format!("{:#}", judge_disk(&exhibit, &dir).unwrap_err());
        assert!(error.contains(image.as_str()), "{error}");
    }

    #[tokio::test]
    async fn an_oracle_that_does_not_object_to_an_altered_sector_is_not_believed() {
        let (_keep, dir) = dir();
        let said = self_test_oracle(exhibit(&dir), 1).await.unwrap();
        assert!(said.starts_with("data: sectors 8 and "), "{said}");
    }
}
