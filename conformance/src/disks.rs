//! Checks the image files of the disks that a scenario leaves behind.
//!
//! A copy may have every byte of a disk and still be a damaged image, because image formats have
//! tables of their own. So `qemu-img check` and `qemu-img info` read every volume of both sites
//! once nothing writes to it.

use camino::Utf8PathBuf;
use harness::tools::{self, Format};
use standins::{IdleVolume, StandInSite};

use crate::blame::ScenarioError;
use crate::outcome::{LeftDisk, Verdict};
use crate::rules::RuleLog;
use crate::rules::ids::*;

/// The result of the check for a format without tables.
const NO_CHECK: &str = "the format has no tables to check";

/// Checks the image file of every volume of a site that no running machine has open. `when` goes
/// into the report.
///
/// # Errors
/// Exports of the site stay open.
pub(crate) async fn inspect(site: &StandInSite, when: &str) -> Result<Vec<LeftDisk>, ScenarioError> {
    let label = site.label();
    let disks = site.with_idle_volumes(async |volumes: Vec<IdleVolume>| {
        let mut disks = Vec::new();
        for volume in volumes {
            disks.push(inspect_volume(label, when, volume).await);
        }
        disks
    });
    Ok(disks.await?)
}

async fn inspect_volume(site: &str, when: &str, volume: IdleVolume) -> LeftDisk {
    let IdleVolume { id, path, format, bytes } = volume;
    let check = check_image(&path, format).await;
    let info = tools::info(&path).await.map_err(|error| error.to_string());
    let readable = info.and_then(|info| {
        let as_described = info.format == format.name() && info.virtual_size == bytes;
        let found = format!("{} of {} bytes", info.format, info.virtual_size);
        if as_described {
            Ok(found)
        } else {
            Err(format!("{found}, should be {} of {bytes} bytes", format.name()))
        }
    });
    let verdict = |intact: bool| if intact { Verdict::Pass } else { Verdict::Fail };
    LeftDisk {
        site: site.to_owned(),
        volume: id.to_string(),
        when: when.to_owned(),
        format: format.name().to_owned(),
        checked: verdict(check.is_ok()),
        check: check.unwrap_or_else(|error| error),
        readable: verdict(readable.is_ok()),
        info: readable.unwrap_or_else(|error| error),
    }
}

async fn check_image(path: &Utf8PathBuf, format: Format) -> Result<String, String> {
    if !format.has_tables() {
        return Ok(NO_CHECK.to_owned());
    }
    match tools::check(path, format).await {
        Ok(()) => Ok("clean".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// ST-02, ST-03: every image is clean, and has the format and size of its volume. The rules fail if
/// no image was inspected.
pub(crate) fn check(rules: &mut RuleLog, disks: &[LeftDisk]) {
    let rule = |rules: &mut RuleLog, id: RuleId, verdict: fn(&LeftDisk) -> (Verdict, &str)| {
        let broken = disks.iter().find(|disk| verdict(disk).0 != Verdict::Pass);
        let found = match broken {
            None => format!("{} images checked", disks.len()),
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
    const WITH_TABLES: [Format; 3] = [Format::Qcow2, Format::Vmdk, Format::Vhdx];

    async fn image(dir: &tempfile::TempDir, format: Format) -> IdleVolume {
        let path = Utf8PathBuf::from_path_buf(dir.path().join(format!("disk.{}", format.name()))).unwrap();
        tools::create(&path, format, BYTES).await.unwrap();
        let arguments = ["-f", format.name(), "-c", "write -P 7 64k 1M", path.as_str()];
        tools::run("qemu-io", &arguments).await.unwrap();
        IdleVolume { id: VolumeId::from("shop-system"), path, format, bytes: BYTES }
    }

    fn broken(disks: &[LeftDisk]) -> Vec<RuleId> {
        let mut rules = RuleLog::default();
        check(&mut rules, disks);
        let broken = rules.into_outcomes().into_iter().filter(|rule| rule.verdict != Verdict::Pass);
        broken.map(|rule| rule.id).collect()
    }

    #[tokio::test]
    async fn an_intact_image_of_each_format_passes() {
        let dir = tempfile::tempdir().unwrap();
        for format in WITH_TABLES.into_iter().chain([Format::Raw]) {
            let disk = inspect_volume("a-standin", "left", image(&dir, format).await).await;
            assert_eq!(broken(std::slice::from_ref(&disk)), Vec::<RuleId>::new(), "{disk:?}");
            assert_eq!(disk.check == NO_CHECK, format == Format::Raw);
        }
    }

    /// Makes the first entry of the image's mapping table point beyond the end of the file.
    fn damage(volume: &IdleVolume) {
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
                // An entry of the region table begins with the id of its region; this id is the
                // mapping table's.
                let mut regions = (192 * 1024 + 16..).step_by(32);
                let region = regions.find(|at| bytes[*at..at + 4] == [0x66, 0x77, 0xc2, 0x2d]).unwrap();
                (little(region + 16), ((0x7f_ffff_u64 << 20) | 6).to_le_bytes())
            }
            Format::Raw => unreachable!("raw disks have no tables"),
        };
        File::options().write(true).open(&volume.path).unwrap().write_all_at(&entry, at).unwrap();
    }

    #[tokio::test]
    async fn a_damaged_image_breaks_the_rule_and_is_named() {
        for format in WITH_TABLES {
            let dir = tempfile::tempdir().unwrap();
            let volume = image(&dir, format).await;
            damage(&volume);
            let disk = inspect_volume("a-standin", "left", volume).await;
            assert!(broken(std::slice::from_ref(&disk)).contains(&ST_02), "{disk:?}");
            let mut rules = RuleLog::default();
            check(&mut rules, &[disk]);
            assert!(rules.broken().unwrap().found.contains("volume shop-system (left)"));
        }
    }

    #[tokio::test]
    async fn an_image_of_another_format_or_size_than_its_volume_breaks_the_rule() {
        let dir = tempfile::tempdir().unwrap();
        let volume = image(&dir, Format::Qcow2).await;
        let other_format = IdleVolume { format: Format::Raw, ..volume.clone() };
        assert_eq!(broken(&[inspect_volume("a-standin", "left", other_format).await]), [ST_03]);
        let shorter = IdleVolume { bytes: BYTES - 512, ..volume.clone() };
        assert_eq!(broken(&[inspect_volume("a-standin", "left", shorter).await]), [ST_03]);
        std::fs::remove_file(&volume.path).unwrap();
        assert_eq!(broken(&[inspect_volume("a-standin", "left", volume).await]), [ST_02, ST_03]);
    }

    #[test]
    fn no_image_inspected_is_no_pass() {
        assert_eq!(broken(&[]), [ST_02, ST_03]);
    }
}
