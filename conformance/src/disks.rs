//! Are the disks that a cycle leaves whole, and what they are called?
//!
//! A copy may hold every byte and still be a damaged file: an image format has tables of its own. So every volume of both
//! sites is read by `qemu-img check` and `qemu-img info` once nobody writes to it.

use camino::Utf8PathBuf;
use harness::tools::{self, Format};
use standins::{StandInSite, StillVolume};

use crate::blame::ScenarioError;
use crate::outcome::{LeftDisk, Verdict};
use crate::rules::RuleLog;
use crate::rules::ids::*;

/// What a format without tables gets for a check's result.
const NO_CHECK: &str = "the format has no tables to check";

/// Reads every volume of a site that no running machine has open. `when`: for the report.
///
/// # Errors
/// The site does not come to rest.
pub(crate) async fn inspect(site: &StandInSite, when: &str) -> Result<Vec<LeftDisk>, ScenarioError> {
    let label = site.label();
    let disks = site.at_rest(async |volumes: Vec<StillVolume>| {
        let mut disks = Vec::new();
        for volume in volumes {
            disks.push(read(label, when, volume).await);
        }
        disks
    });
    Ok(disks.await?)
}

async fn read(site: &str, when: &str, volume: StillVolume) -> LeftDisk {
    let StillVolume { id, path, format, bytes } = volume;
    let check = check(&path, format).await;
    let info = tools::info(&path).await.map_err(|error| error.to_string());
    let readable = info.and_then(|info| {
        let as_told = info.format == format.name() && info.virtual_size == bytes;
        let found = format!("{} of {} bytes", info.format, info.virtual_size);
        if as_told {
            Ok(found)
        } else {
            Err(format!("{found}, should be {} of {bytes} bytes", format.name()))
        }
    });
    let whole = |held: bool| if held { Verdict::Pass } else { Verdict::Fail };
    LeftDisk {
        site: site.to_owned(),
        volume: id.to_string(),
        when: when.to_owned(),
        format: format.name().to_owned(),
        checked: whole(check.is_ok()),
        check: check.unwrap_or_else(|why| why),
        readable: whole(readable.is_ok()),
        info: readable.unwrap_or_else(|why| why),
    }
}

async fn check(path: &Utf8PathBuf, format: Format) -> Result<String, String> {
    if !format.has_tables() {
        return Ok(NO_CHECK.to_owned());
    }
    match tools::check(path, format).await {
        Ok(()) => Ok("clean".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// ST-02: every disk is clean. ST-03: every disk is what it is called. Nothing looked at is nothing held.
pub(crate) fn expect(rules: &mut RuleLog, disks: &[LeftDisk]) {
    let rule = |rules: &mut RuleLog, id: RuleId, verdict: fn(&LeftDisk) -> (Verdict, &str)| {
        let broken = disks.iter().find(|disk| verdict(disk).0 != Verdict::Pass);
        let found = match broken {
            None => format!("{} disks looked at", disks.len()),
            Some(disk) => {
                format!("{}: volume {} ({}): {}", disk.site, disk.volume, disk.when, verdict(disk).1)
            }
        };
        rules.check(id, broken.is_none() && !disks.is_empty(), found);
    };
    rule(rules, ST_02, |disk| (disk.checked, &disk.check));
    rule(rules, ST_03, |disk| (disk.readable, &disk.info));
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use contract::VolumeId;

    const BYTES: u64 = 4 << 20;
    const TABLED: [Format; 3] = [Format::Qcow2, Format::Vmdk, Format::Vhdx];

    async fn image(dir: &tempfile::TempDir, format: Format) -> StillVolume {
        let path = Utf8PathBuf::from_path_buf(dir.path().join(format!("disk.{}", format.name()))).unwrap();
        tools::create(&path, format, BYTES).await.unwrap();
        let words = ["-f", format.name(), "-c", "write -P 7 64k 1M", path.as_str()];
        tools::run("qemu-io", &words).await.unwrap();
        StillVolume { id: VolumeId::from("shop-system"), path, format, bytes: BYTES }
    }

    fn broken(disks: &[LeftDisk]) -> Vec<RuleId> {
        let mut rules = RuleLog::default();
        expect(&mut rules, disks);
        let broken = rules.into_outcomes().into_iter().filter(|rule| rule.verdict != Verdict::Pass);
        broken.map(|rule| rule.id).collect()
    }

    #[tokio::test]
    async fn a_whole_disk_of_each_format_is_clean_and_what_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        for format in TABLED.into_iter().chain([Format::Raw]) {
            let disk = read("a-standin", "left", image(&dir, format).await).await;
            assert_eq!(broken(std::slice::from_ref(&disk)), Vec::<RuleId>::new(), "{disk:?}");
            assert_eq!(disk.check == NO_CHECK, format == Format::Raw);
        }
    }

    /// Lets the first entry of the image's mapping table lead beyond the end of the file.
    fn damage(volume: &StillVolume) {
        let bytes = std::fs::read(&volume.path).unwrap();
        let little = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (at, entry) = match volume.format {
            Format::Qcow2 => {
                let table = u64::from_be_bytes(bytes[40..48].try_into().unwrap());
                (table, 0x8000_7fff_0000_0000_u64.to_be_bytes())
            }
            Format::Vmdk => {
                let directory = little(56) as usize * 512;
                let table = (little(directory) & 0xffff_ffff) * 512;
                (table, 0x7fff_ffff_u64.to_le_bytes())
            }
            Format::Vhdx => {
                // Entries of the region table begin with the id of what they lead to; the mapping table's is this one.
                let mut regions = (192 * 1024 + 16..).step_by(32);
                let region = regions.find(|at| bytes[*at..at + 4] == [0x66, 0x77, 0xc2, 0x2d]).unwrap();
                (little(region + 16), ((0x7f_ffff_u64 << 20) | 6).to_le_bytes())
            }
            Format::Raw => unreachable!("raw disks have no tables"),
        };
        File::options().write(true).open(&volume.path).unwrap().write_all_at(&entry, at).unwrap();
    }

    #[tokio::test]
    async fn a_damaged_copy_breaks_the_rule_and_is_named() {
        for format in TABLED {
            let dir = tempfile::tempdir().unwrap();
            let volume = image(&dir, format).await;
            damage(&volume);
            let disk = read("a-standin", "left", volume).await;
            assert!(broken(std::slice::from_ref(&disk)).contains(&ST_02), "{disk:?}");
            let mut rules = RuleLog::default();
            expect(&mut rules, &[disk]);
            assert!(rules.broken().unwrap().found.contains("volume shop-system (left)"));
        }
    }

    #[tokio::test]
    async fn a_disk_of_another_format_or_size_than_it_is_called_breaks_the_rule() {
        let dir = tempfile::tempdir().unwrap();
        let volume = image(&dir, Format::Qcow2).await;
        let called = StillVolume { format: Format::Raw, ..volume.clone() };
        assert_eq!(broken(&[read("a-standin", "left", called).await]), [ST_03]);
        let shorter = StillVolume { bytes: BYTES - 512, ..volume.clone() };
        assert_eq!(broken(&[read("a-standin", "left", shorter).await]), [ST_03]);
        std::fs::remove_file(&volume.path).unwrap();
        assert_eq!(broken(&[read("a-standin", "left", volume).await]), [ST_02, ST_03]);
    }

    #[test]
    fn no_disk_looked_at_is_no_pass() {
        assert_eq!(broken(&[]), [ST_02, ST_03]);
    }
}
