//! Which sectors of a machine's first disk hydration may have edited, and why it may at all.
//!
//! The suite decides by itself whether hydration is due and what it may touch: by what the platform
//! and the agent say about the machine, and by the boot drivers of the target. What a core says
//! does not matter.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use contract::{AgentVersion, GuestFacts, GuestOs, Hydration, PlatformKind};
use fatdiff::Differences;
use images::layout::{
    BOOT_BYTES, BOOT_OFFSET, EFI_LOADER, EFI_LOADER_DIR, LOADER_ENTRY, SYSLINUX_CFG, VARIANT_ENV,
    drivers_of_syslinux,
};
use windows_volume::SYSTEM_HIVE;

use crate::registry::{Due, Tools};
use crate::windows_disk;

/// Configurations of the boot loaders, to which hydration adds drivers.
pub const LOADERS: [&str; 2] = [SYSLINUX_CFG, LOADER_ENTRY];

/// The sector at which the boot partition begins.
const FIRST_SECTOR: u64 = BOOT_OFFSET / fatdiff::SECTOR as u64;

/// What the platform and the agent say about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownGuest {
    /// Its operating system.
    pub os: GuestOs,
    /// What its agent reports.
    pub facts: GuestFacts,
}

/// What hydration has to do to a copy of a machine, and so what it may edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Whether a rule demands hydration of such a machine, or something of the following is true.
    pub due: bool,
    /// Drivers of the target's controllers that the copy does not load.
    pub drivers: Vec<String>,
    /// Whether the copy's DHCP service does not start.
    pub dhcp: bool,
    /// What is due in the registry of a Windows machine.
    pub registry: Due,
    /// Whether a rule demands hydration of such a machine.
    pub by_rule: bool,
    /// Whether the copy has no boot loader where firmware looks for it (FX-62).
    pub loader: bool,
}

impl Need {
    /// The need of a copy, of which `before` is the first disk without hydration, raw. The machine
    /// ran on the platform `source`, and its copy is for `target`, whose controllers need
    /// `drivers`.
    ///
    /// # Errors
    /// The disk's boot configuration cannot be read.
    pub fn of(
        (source, target): (PlatformKind, PlatformKind),
        guest: Option<&KnownGuest>,
        before: &Utf8Path,
        drivers: &[&str],
    ) -> Result<Self> {
        let read =
            |path| images::read_boot_file(before, path).map(|b| String::from_utf8_lossy(&b).into_owned());
        let loaded = drivers_of_syslinux(&read(SYSLINUX_CFG)?);
        let lacks = drivers.iter().filter(|driver| !loaded.iter().any(|known| known == *driver));
        let drivers: Vec<_> = lacks.map(|driver| (*driver).to_owned()).collect();
        let by_rule = due_by_rule(source, guest);
        // A static address needs no service where no rule asks for one.
        let dhcp = by_rule && read(VARIANT_ENV)?.lines().any(|line| line == "DHCP=no");
        let due = by_rule || !drivers.is_empty();
        let is_windows = guest.is_some_and(|guest| guest.os == GuestOs::Windows);
        let registry =
            if is_windows { Due { hydration: due, tools: tools(source, target) } } else { Due::NOTHING };
        let loader = !images::has_boot_file(before, EFI_LOADER)?;
        Ok(Self { due, drivers, dhcp, registry, by_rule, loader })
    }

    /// The files that hydration may rewrite or make, with their directories. It may do so with the
    /// same content where nothing is lacking, as long as it is due.
    #[must_use]
    pub fn editable(&self) -> Vec<&'static str> {
        let parts: [(bool, &[&str]); 3] = [
            (self.due, &[SYSLINUX_CFG, LOADER_ENTRY, VARIANT_ENV]),
            (self.loader, &[EFI_LOADER, EFI_LOADER_DIR]),
            (self.registry.anything(), &[SYSTEM_HIVE]),
        ];
        parts.into_iter().filter(|(may, _)| *may).flat_map(|(_, files)| files).copied().collect()
    }
}

/// FO-16, FB-15: what happens to VMware Tools on the way from one platform to another.
fn tools(source: PlatformKind, target: PlatformKind) -> Tools {
    match (source.profile().vmware_tools, target.profile().vmware_tools) {
        (true, false) => Tools::AreDisabled,
        (false, true) => Tools::StartAgain,
        _ => Tools::Stay,
    }
}

/// HY-01 to HY-07: whether a rule demands hydration of a machine that ran on this platform. A
/// machine of which nothing is known is an ordinary Linux machine.
fn due_by_rule(source: PlatformKind, guest: Option<&KnownGuest>) -> bool {
    match source.profile().hydration {
        Hydration::Always => true,
        Hydration::ForOtherHardware | Hydration::Never => false,
        Hydration::IfUnprepared => guest.is_none_or(|KnownGuest { os, facts }| {
            let starts = |driver: &&str| facts.boot_drivers.iter().any(|known| known == *driver);
            *os == GuestOs::Linux
                || facts.agent < AgentVersion::WITHOUT_HYDRATION
                || !facts.dhcp_service
                || !GuestFacts::CLOUD_DRIVERS.iter().all(starts)
        }),
    }
}

/// What differs between the boot partitions of two raw disks, if only these files may have been
/// edited. Sectors are counted from the beginning of the disk.
///
/// # Errors
/// A disk cannot be read, or a boot partition has no sound FAT file system.
pub fn boot_differences(before: &Utf8Path, after: &Utf8Path, edited: &[&str]) -> Result<Differences> {
    let edited: Vec<_> = edited.iter().copied().filter(|file| *file != SYSTEM_HIVE).collect();
    let mut found = fatdiff::compare(&boot_partition(before)?, &boot_partition(after)?, &edited)
        .with_context(|| format!("compare the boot partitions of {before} and {after}"))?;
    for range in &mut found.explained {
        *range = range.start + FIRST_SECTOR..range.end + FIRST_SECTOR;
    }
    for damage in &mut found.damage {
        damage.sector += FIRST_SECTOR;
    }
    Ok(found)
}

/// The sectors of a disk that hydration edited, if it may edit these files: none if it may edit
/// none, or if the file system that they are on can no longer be read.
#[must_use]
pub fn edited_sectors(before: &Utf8Path, after: &Utf8Path, editable: &[&str]) -> Vec<Range<u64>> {
    let mut sectors = Vec::new();
    if editable.iter().any(|file| *file != SYSTEM_HIVE) {
        sectors.extend(
            boot_differences(before, after, editable).map(|found| found.explained).unwrap_or_default(),
        );
    }
    if editable.contains(&SYSTEM_HIVE) {
        sectors.extend(windows_disk::hive_sectors(before, after));
    }
    sectors
}

fn boot_partition(disk: &Utf8Path) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(BOOT_BYTES)?];
    let file = File::open(disk).with_context(|| format!("open {disk}"))?;
    file.read_exact_at(&mut bytes, BOOT_OFFSET)
        .with_context(|| format!("read the boot partition of {disk}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

    use super::*;
    use crate::judge::{self, DiskUnderTest};

    fn windows() -> KnownGuest {
        KnownGuest { os: GuestOs::Windows, facts: GuestFacts::default() }
    }

    #[test]
    fn a_rule_demands_hydration_by_the_platform_and_by_what_its_agent_reports() {
        let old = GuestFacts { agent: AgentVersion(9, 7), ..GuestFacts::default() };
        let no_dhcp = GuestFacts { dhcp_service: false, ..GuestFacts::default() };
        let no_driver = GuestFacts { boot_drivers: vec!["storvsc".to_owned()], ..GuestFacts::default() };
        let reported = |facts| KnownGuest { facts, ..windows() };
        let on_vmware = [
            (windows(), false),
            (KnownGuest { os: GuestOs::Linux, ..windows() }, true),
            (reported(old), true),
            (reported(no_dhcp), true),
            (reported(no_driver), true),
        ];
        for (guest, due) in on_vmware {
            assert_eq!(due_by_rule(PlatformKind::Vmware, Some(&guest)), due, "{guest:?}");
            assert!(due_by_rule(PlatformKind::Physical, Some(&guest)));
            assert!(!due_by_rule(PlatformKind::HyperV, Some(&guest)));
            assert!(!due_by_rule(PlatformKind::Azure, Some(&guest)));
        }
        assert!(due_by_rule(PlatformKind::Vmware, None));
    }

    const KERNEL: &str = "vmlinuz";

    /// A disk with a boot partition, sparse.
    fn disk(path: &Utf8Path) {
        let mut bytes = vec![0; usize::try_from(BOOT_BYTES).unwrap()];
        let options = FormatVolumeOptions::new().fat_type(fatfs::FatType::Fat16);
        fatfs::format_volume(Cursor::new(&mut bytes), options).unwrap();
        let fat = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new()).unwrap();
        for (file, content) in [(KERNEL, [7; 9000].as_slice()), (&SYSLINUX_CFG[1..], &[1; 100])] {
            fat.root_dir().create_file(file).unwrap().write_all(content).unwrap();
        }
        fat.unmount().unwrap();
        let file = File::create(path).unwrap();
        file.set_len(BOOT_OFFSET + BOOT_BYTES + 4096).unwrap();
        file.write_all_at(&bytes, BOOT_OFFSET).unwrap();
    }

    /// Hydration by a FAT driver, which makes the boot loader's configuration longer.
    fn hydrate(path: &Utf8Path) {
        let mut bytes = boot_partition(path).unwrap();
        let fat = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new()).unwrap();
        fat.root_dir().open_file(&SYSLINUX_CFG[1..]).unwrap().write_all(&[2; 5000]).unwrap();
        fat.unmount().unwrap();
        File::options().write(true).open(path).unwrap().write_all_at(&bytes, BOOT_OFFSET).unwrap();
    }

    /// Offset on the disk of a byte pattern of the boot partition.
    fn offset_of(path: &Utf8Path, pattern: &[u8]) -> u64 {
        let bytes = boot_partition(path).unwrap();
        let at = bytes.chunks(512).position(|sector| sector.starts_with(pattern)).unwrap();
        BOOT_OFFSET + at as u64 * 512
    }

    fn tamper(path: &Utf8Path, at: u64) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
    }

    /// The oracle's verdict on a disk that was hydrated and, at an offset, tampered with.
    async fn judged(editable: &[&str], place: fn(&Utf8Path) -> Option<u64>) -> (String, String) {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let [before, after, log] = ["before", "after", "log"].map(|name| dir.join(name));
        disk(&before);
        std::fs::copy(&before, &after).unwrap();
        hydrate(&after);
        if let Some(at) = place(&after) {
            tamper(&after, at);
        }
        // No guest has written anything.
        let mut empty = [0x006a_7366_7773_6872_u64, 1, 0].map(u64::to_le_bytes).concat();
        empty.extend(512_u32.to_le_bytes());
        empty.resize(512, 0);
        std::fs::write(&log, empty).unwrap();
        let disk = DiskUnderTest {
            name: "system".to_owned(),
            initial_image: before,
            log,
            recovered: after,
            editable_files: editable.iter().map(ToString::to_string).collect(),
            second_reader: Err("not in this test".to_owned()),
        };
        let machine = judge::judge(vec![disk], 0, dir).await.unwrap();
        let outcome = &machine.disks[0].outcome;
        (outcome.oracle.clone(), outcome.words.clone())
    }

    #[tokio::test]
    async fn the_oracle_ignores_what_the_edit_explains_and_nothing_else() {
        let editable = [SYSLINUX_CFG];
        let in_edited = |disk: &Utf8Path| Some(offset_of(disk, &[2; 512]) + 7);
        for place in [|_: &Utf8Path| None, in_edited] {
            let (class, words) = judged(&editable, place).await;
            assert_eq!(class, "exact", "{words}");
        }
        let elsewhere: [fn(&Utf8Path) -> Option<u64>; 4] = [
            // Another file, its slack, a free cluster, and outside the boot partition.
            |disk| Some(offset_of(disk, &[7; 512])),
            |disk| Some(offset_of(disk, &[7; 512]) + 9001),
            |_| Some(BOOT_OFFSET + BOOT_BYTES - 4096),
            |_| Some(BOOT_OFFSET + BOOT_BYTES + 100),
        ];
        for (number, place) in elsewhere.into_iter().enumerate() {
            let (class, words) = judged(&editable, place).await;
            assert_eq!(class, "foreign", "{number}: {words}");
        }
        let (class, words) = judged(&[], |_| None).await;
        assert_eq!(class, "foreign", "an edit where hydration is not due: {words}");
    }

    #[test]
    fn nothing_may_be_edited_where_hydration_is_not_due() {
        assert_eq!(Need::default().editable(), [""; 0]);
        let loader = Need { loader: true, ..Need::default() };
        assert_eq!(loader.editable(), [EFI_LOADER, EFI_LOADER_DIR]);
        let due = Need { due: true, ..Need::default() };
        assert_eq!(due.editable(), [SYSLINUX_CFG, LOADER_ENTRY, VARIANT_ENV]);
        let registry = Due { hydration: false, tools: Tools::AreDisabled };
        assert_eq!(Need { registry, ..Need::default() }.editable(), [SYSTEM_HIVE]);
    }

    #[test]
    fn tools_are_disabled_away_from_vmware_and_start_again_there() {
        use PlatformKind::{Azure, HyperV, Vmware};
        let expected = [
            (Vmware, Azure, Tools::AreDisabled),
            (Azure, Vmware, Tools::StartAgain),
            (HyperV, Azure, Tools::Stay),
            (Vmware, Vmware, Tools::Stay),
        ];
        for (source, target, expected) in expected {
            assert_eq!(tools(source, target), expected);
        }
    }
}
